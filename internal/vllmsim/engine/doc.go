// Package engine simulates the scheduler and the step times of a vLLM engine
// (vllm/v1/core/sched/scheduler.py): continuous batching with chunked prefill,
// a paged KV cache with prefix caching, and preemption by recomputation.
//
// A [Scheduler] is pure: it plans a step, says how long the step takes
// ([Spec.StepTime]) and applies it. An [Engine] runs one on the wall clock.
//
// What is simulated: each step has a budget of tokens. Running sequences take
// from it first, in the order in which they were admitted: a decode takes one
// token, an unfinished prefill as many as are left. Then waiting sequences are
// admitted in order of arrival, or of priority and arrival. When the KV cache
// has no free block for a running sequence, the running sequence admitted last
// (with priority scheduling the one of the lowest priority) loses its blocks
// and is computed again later. Tokens leave the engine at the end of a step.
//
// What is not: speculative decoding, LoRA, asynchronous scheduling (the next
// step is planned after the previous one), the time of the API server, and the
// growth of prefill time with the square of the prompt.
package engine
