"""What is measured on: data sets from their sources, splits and pools, fixed features of images."""
