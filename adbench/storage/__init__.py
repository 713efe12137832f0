"""What is kept on disk: files written at once, trained parts by content, stages that trials share."""
