"""What autoencoders keep of images: measured, with a linear probe of their codes, as tables, figures and pictures."""
