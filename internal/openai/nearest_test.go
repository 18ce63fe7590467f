package openai

import (
	"slices"
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	served := []string{"Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-72B-Instruct", "meta-llama/Llama-3.1-8B-Instruct", "gpt-4o", "gpt-4o-mini", "bge-m3"}
	tests := map[string]struct {
		word  string
		known []string
		n     int
		want  []string
	}{
		"the same":             {"gpt-4o", served, 1, []string{"gpt-4o"}},
		"case":                 {"GPT-4O", served, 1, []string{"gpt-4o"}},
		"a letter wrong":       {"gpt-4p", served, 3, []string{"gpt-4o"}},
		"two exchanged":        {"bge-3m", served, 3, []string{"bge-m3"}},
		"contained":            {"gpt-4o-mini-2024", served, 2, []string{"gpt-4o-mini", "gpt-4o"}},
		"containing":           {"mini", served, 2, []string{"gpt-4o-mini"}},
		"without organisation": {"qwen2.5-7b-instruct", served, 2, []string{"Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-72B-Instruct"}},
		"other organisation":   {"unsloth/Llama-3.1-8B-Instruct", served, 1, []string{"meta-llama/Llama-3.1-8B-Instruct"}},
		"own before other":     {"org/model", []string{"other/model", "a/model", "org/model"}, 2, []string{"org/model", "a/model"}},
		"beginning of a name":  {"Qwen2.5", served, 2, []string{"Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-72B-Instruct"}},
		"nothing alike":        {"claude", served, 3, []string{}},
		"a short word":         {"m3", served, 3, []string{}},
		"equally near":         {"model-x", []string{"model-b", "model-a"}, 5, []string{"model-a", "model-b"}},
		"at most n":            {"model-x", []string{"model-c", "model-b", "model-a"}, 2, []string{"model-a", "model-b"}},
		"none wanted":          {"gpt-4o", served, 0, nil},
		"no word":              {"", served, 3, nil},
		"none known":           {"gpt-4o", nil, 3, []string{}},
		"slash at the end":     {"x/", []string{"y/", "z"}, 3, []string{"y/"}},
		"not ASCII":            {"modèle", []string{"modele", "Modèle"}, 2, []string{"Modèle", "modele"}},
		"a huge word":          {"gpt-4o" + strings.Repeat("x", 1<<20), served, 3, nil},
		"a huge name":          {"gpt-4o", []string{"gpt-4o" + strings.Repeat("x", 1<<20)}, 3, []string{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			known := slices.Clone(test.known)
			got := Nearest(test.word, known, test.n)
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if !slices.Equal(known, test.known) {
				t.Errorf("the known names became %q", known)
			}
		})
	}
}
