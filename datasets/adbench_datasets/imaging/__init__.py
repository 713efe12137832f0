"""From the files of a scan to slices on one grid."""
