"""Training on CPU by operators of our own, compiled once for the processor of this machine.

Paddle 3.3 computes PReLU, batch normalisation and depthwise convolutions on CPU in several passes and mostly without
vector instructions: in MobileFaceNet that is two thirds of a step. ``assets/kernels.cc`` does each in as few passes
over memory as it takes. It is plain C++ without a header of Paddle: functions on float32 memory, which ``operators``
calls through ctypes inside ``PyLayer``; so any version of Paddle goes with it, and a build takes two seconds.

- ``building``: the compiler, and the folder where its work is kept;
- ``operators``: the compiled functions with their gradients;
- ``layers``: which layers of a network compute by them.

In evaluation the layers are the original ones: exports and validation know nothing of all this.
"""
