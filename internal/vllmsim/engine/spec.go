package engine

import (
	"maps"
	"slices"
	"time"
)

// Spec describes a model on a GPU, as far as scheduling and step times depend
// on them.
type Spec struct {
	// StepBase is the time of a step regardless of its tokens: the weights are
	// read once, kernels are launched, tokens are sampled and handed out.
	StepBase time.Duration

	// PerDecode is added for each sequence that decodes in the step.
	PerDecode time.Duration

	// PerContextToken is added for each token of context of these sequences:
	// attention reads the keys and values of all of them.
	PerContextToken time.Duration

	// PrefillRate is the number of prompt tokens computed per second.
	PrefillRate int

	// MaxNumBatchedTokens is the budget of a step, prefill and decode together.
	MaxNumBatchedTokens int

	// MaxNumSeqs is the maximum number of running sequences.
	MaxNumSeqs int

	// KVTokens is the capacity of the KV cache in tokens.
	KVTokens int

	// BlockSize is the number of tokens of a block of the KV cache.
	BlockSize int

	// MaxModelLen is the longest context, prompt and answer together.
	MaxModelLen int
}

// Specs are the engines that can be simulated, by name.
var Specs = map[string]Spec{
	// Llama 3.1 8B in bfloat16 on one H100 SXM with 80 GB. The constants follow
	// from the model's shape (8.03 G parameters, 32 layers, 8 KV heads of 128)
	// and NVIDIA's data sheet (3.35 TB/s, 989 TFLOPS dense bfloat16); they are
	// derived, not measured.
	"h100-8b": {
		// 16.06 GB of weights take 4.8 ms at 3.35 TB/s. 7.5 ms is that at 80 %
		// of the bandwidth (6.0 ms) and 1.5 ms for launches, sampling and the
		// scheduler.
		StepBase: 7500 * time.Microsecond,
		// 2 × 8.03 G operations take 16 µs at peak, part of which overlaps with
		// reading the weights.
		PerDecode: 10 * time.Microsecond,
		// 2 × 32 × 8 × 128 × 2 bytes = 128 KiB of keys and values take 39 ns at
		// 3.35 TB/s.
		PerContextToken: 40 * time.Nanosecond,
		// 16.06 G operations a token: 329 TFLOPS, a third of the peak. A full
		// step of 2,048 prompt tokens takes 100 ms.
		PrefillRate: 20480,
		// vLLM's default for the OpenAI server with chunked prefill on a GPU of
		// less than 70 GB, and what its tuning guide recommends for inter-token
		// latency (https://docs.vllm.ai/en/latest/configuration/optimization/).
		MaxNumBatchedTokens: 2048,
		// vLLM's default in the same place.
		MaxNumSeqs: 256,
		// 80 GB × 0.9 less weights and activations leave 52 GB for blocks of
		// 128 KiB a token.
		KVTokens: 400_000,
		// vLLM's default on CUDA.
		BlockSize: 16,
		// The model's own (max_position_embeddings).
		MaxModelLen: 131072,
	},
}

// Names lists the engines in order.
func Names() []string { return slices.Sorted(maps.Keys(Specs)) }

// StepTime is the duration of a step in which so many sequences decode, with so
// many tokens of context together, and so many prompt tokens are computed.
func (s Spec) StepTime(decodes, context, prefill int) time.Duration {
	return s.StepBase +
		time.Duration(decodes)*s.PerDecode +
		time.Duration(context)*s.PerContextToken +
		time.Duration(prefill)*time.Second/time.Duration(s.PrefillRate)
}

// blocks is the number of blocks of the KV cache.
func (s Spec) blocks() int { return s.KVTokens / s.BlockSize }
