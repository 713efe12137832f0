"""Anomalies made of healthy training images: where they lie, and how foreign images are blended in."""
