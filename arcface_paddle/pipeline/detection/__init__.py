"""Finding faces: ``base`` is the contract, one module per detector."""
