// Package vllmsim is a simulated vLLM server, which `tidegate sim`, the demo, tests and
// benchmarks use instead of a GPU.
//
// It has the routes, answers, errors, metrics and manners of vLLM's
// OpenAI-compatible server (vllm/entrypoints, vllm/v1/metrics), a scheduler
// that runs [Config].MaxNumSeqs requests at once and lets the others wait in
// order, and times to first token and between tokens that are kept exactly. A
// client that leaves frees its slot at once and counts as aborted. Parameters
// that would only change how the model samples are refused when vLLM refuses
// their values, and else ignored.
//
// # The answer
//
// An answer is a function of the path and the bytes of the body, nothing else:
// [Expected] computes it from a batch line alone. Let D be the SHA-256 of the
// path, a newline and the body.
//
//   - The id is the route's usual prefix and the first 32 hex digits of D;
//     created is 1700000000 plus a part of D, within a year.
//   - The text is made of tokens. The first is "sim-" and the same 32 digits,
//     so it tells the answer from every other one (and ".1", ".2" … for the
//     further choices of n). The following are " " and a word each: the words
//     of the prompt's last text, at most 24 bytes of each, then words picked
//     by D.
//   - There are 8 to 64 tokens, by D, or as many as [[sim:tokens=N]] says. If
//     that is more than max_tokens, max_completion_tokens or max_output_tokens
//     (16 by default on /v1/completions), there are that many and the finish
//     reason is length in place of stop. With ignore_eos there are always as
//     many as these allow.
//   - A chat whose tool_choice is required or names a function is a call of that
//     tool, the first one for required, whose arguments are {"answer":TEXT}.
//     Otherwise tools are not called.
//   - With logprobs each token has one, and as many alternatives as asked for.
//   - prompt_tokens is a quarter of the body's bytes, rounded up; cached_tokens
//     is half of that, rounded down to a multiple of 16.
//   - Vectors, scores and probabilities are multiples of 2^-16 (2^-15 for
//     vectors, which have 16 dimensions unless the request says how many).
//
// The deltas of a stream come to the text that the same bytes would give
// without streaming; see [ExpectedContent]. A stream sends its header before
// the request waits, as vLLM does; without delays everything goes out in one
// write.
//
// # Engines
//
// With [Config].Engine requests run in a simulated GPU instead (package engine):
// times come from its scheduler and its step times, and cached_tokens from its
// prefix cache, so that they are not those of [Expected]. The rest of an answer
// is the same, unless the context length cuts it. slow delays the request before it reaches
// the engine and gap delays the sending; a request that hangs keeps its place.
//
// # Markers
//
// A text "[[sim:KIND]]" or "[[sim:KIND=ARG]]" anywhere in the strings of the
// body asks for a fault or a shape, options standing behind commas. Of several
// faults the first counts. A marker that is not understood is answered 400.
//
//	status=N            an error of that status, 400 to 599 (default 500), at once;
//	                    with retry-after=SECONDS also that header
//	hang                nothing, not even a header, until the client leaves
//	hang-mid            half of the answer, then nothing until the client leaves
//	cut                 the connection is closed before the first byte
//	cut-mid             the connection is closed after half of the answer
//	exit                the process exits with code 1 (Config.Exit)
//	die, die=DURATION   the engine dies: everything in flight is answered 500, or
//	                    in a stream by an error and [DONE], and the process exits
//	                    after so long (default 3s; Config.Exit)
//	freeze, freeze=DURATION
//	                    the engine hangs, with all requests and all counters, for
//	                    so long (default: for ever), while /health answers 200
//	html, html=STATUS   the HTML page of a proxy (default 502; 200 is possible)
//	redirect, redirect=URL
//	                    302 to the URL (default: a port where nothing listens)
//	truncated           half of the JSON under a Content-Length that fits it; of
//	                    a stream the first half, cut in an event, ending cleanly
//	short               all of the answer under a Content-Length that is larger
//
//	pretty              indented JSON (not in streams)
//	huge, huge=BYTES    a text of at least so many bytes (default 1 MiB)
//	no-usage            no usage in the answer
//	slow, slow=DURATION the time to first token of this request (default 1s)
//	gap, gap=DURATION   silence between two tokens in the middle (default 1s)
//	tokens=N            so many tokens, as far as max_tokens allows
//
// Each takes times=N, as in [[sim:status=503,times=2]]: only the first N
// receptions of this request ([Key]) are so, by this server (or by all that
// share a [Ledger]). The second group shapes answers that are right; requests
// that meet one of the first group count as faulted, and those that hang as
// aborted when the client leaves.
//
// [Config].Faults and [ParseFault] take the same kinds but tokens, at a rate.
//
// # Counting
//
// [Server.Stats] and GET /sim/stats count requests by how they ended. GET
// /sim/calls gives, for every request, how often it was received, finished and
// aborted; ?marker=NAME or POST {"key":NAME} gives one, ?prefix=P those named P….
// A request's name is XYZ if its body contains "sim-id:XYZ", else the 32 digits of D. POST
// /sim/reset sets all of that to zero. These routes want no key and are open
// while the model loads.
//
// POST /sim/engine changes a running server: {"max_num_seqs":N} its capacity,
// {"speed":N} by what the durations of an engine are divided, {"frozen":true}
// hangs it and {"frozen":false} takes that back, {"dead":true} kills it. Like
// GET /sim/engine it answers with the state.
package vllmsim
