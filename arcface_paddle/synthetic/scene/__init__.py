"""What is around a rendered person: camera, light, background, and the photograph that is taken."""
