"""Numbers of Triton kernels: of what is global a kernel may only use constexprs. Importing this needs triton."""

import triton.language as tl

# exp2 and log2 are the cheap ones: exp(x) = exp2(x LOG2E), log(x) = log2(x) LN2.
LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
