"""The core: types, state, model, gradients, methods and the engine that runs them."""
