"""An image: from a file to RGB pixels, and from pixels to the same tensor that torchvision would make of them."""
