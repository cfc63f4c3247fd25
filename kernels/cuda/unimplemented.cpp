// While the backend is being built: operations that have no kernel yet. Every real definition replaces its stand-in.
#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/add.h"
#include "kernels/attention.h"
#include "kernels/bias.h"
#include "kernels/cast.h"
#include "kernels/cross_entropy.h"
#include "kernels/dropout.h"
#include "kernels/embedding.h"
#include "kernels/grad_accumulate.h"
#include "kernels/gradient_check.h"
#include "kernels/layernorm.h"
#include "kernels/matmul.h"
#include "kernels/scale.h"
#include "kernels/sgd.h"
#include "kernels/step_control.h"

namespace accrue::kernels::cuda {
#define MISSING(function, Type) \
  [[gnu::weak]] void function(const Type&) { fail(ErrorKind::internal, #function " has no CUDA kernel yet"); }
MISSING(activation_forward, ActivationForward)
MISSING(activation_backward, ActivationBackward)
MISSING(adamw, AdamW)
MISSING(add, Add)
MISSING(attention_forward, AttentionForward)
MISSING(attention_backward, AttentionBackward)
MISSING(bias_forward, BiasForward)
MISSING(bias_backward, BiasBackward)
MISSING(cast, Cast)
MISSING(cross_entropy, CrossEntropy)
MISSING(dropout, Dropout)
MISSING(embedding_forward, EmbeddingForward)
MISSING(embedding_backward, EmbeddingBackward)
MISSING(grad_accumulate, GradAccumulate)
MISSING(gradient_check, GradientCheck)
MISSING(layernorm_forward, LayerNormForward)
MISSING(layernorm_backward, LayerNormBackward)
MISSING(matmul, Matmul)
MISSING(scale, Scale)
MISSING(sgd, Sgd)
MISSING(add_loss_terms, AddLossTerms)
MISSING(begin_step, BeginStep)
MISSING(finish_step, FinishStep)
}  // namespace accrue::kernels::cuda
