"""Work on images: small affine changes of training images, filters of score maps and masks."""
