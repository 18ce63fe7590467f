package cli

import (
	"strings"
	"testing"
)

func TestSimEngineFlags(t *testing.T) {
	for flags, say := range map[string]string{
		"--engine none":                                       "--engine none: want one of h100-8b",
		"--speed 2":                                           "--speed needs --engine",
		"--kv-tokens 100":                                     "--kv-tokens needs --engine",
		"--metrics-lag 1s":                                    "--metrics-lag needs --engine",
		"--max-num-batched-tokens 5":                          "--max-num-batched-tokens needs --engine",
		"--engine h100-8b --ttft 1s":                          "--ttft and --itl have no meaning with --engine",
		"--engine h100-8b --speed 0":                          "--speed must be above 0 and at most 100",
		"--engine h100-8b --speed NaN":                        "--speed must be above 0 and at most 100",
		"--engine h100-8b --kv-tokens 15":                     "--kv-tokens must be at least 16, a block",
		"--engine h100-8b --max-num-batched-tokens -1":        "--max-num-batched-tokens must be at least 1",
		"--engine h100-8b --metrics-lag -1s":                  "--metrics-lag must not be negative",
		"--engine h100-8b --max-num-queued-reqs -1":           "--max-num-queued-reqs must be at least 0",
		"--engine h100-8b --kv-tokens 96 --max-model-len 100": "--max-model-len 100 does not fit into the KV cache of 96 tokens",
		"--scheduling-policy lifo":                            "--scheduling-policy lifo: want fcfs or priority",
		"--vllm-version 1":                                    "--vllm-version 1: want 0.11 or 0.32",
	} {
		tidegate(t.Context(), nil, append([]string{"sim"}, strings.Fields(flags)...)...).want(t, 1, say)
	}
}
