"""The second engine: tensorflow-model-optimization trains, in a process of its own; edgekit goes on.

settings        which steps and settings of a recipe it has; what it has not is refused by name
engine          plans a stage on the Keras 3 model, has it trained, opens the `.h5` that comes back
process, job    the child process and what is said to it
child           its entry: opening, wrapping, training run only there, with tf_keras
"""
