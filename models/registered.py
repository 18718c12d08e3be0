"""Makes all layers of ours known to Keras, which then loads .keras files."""

from models import frozen, layers, stochastic_depth

MODULES = (frozen, layers, stochastic_depth)
