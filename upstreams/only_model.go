package upstreams

import (
	"errors"
	"strings"

	"github.com/tidegate/tidegate/internal/openai"
)

// listedModels limits the number of models listed in the error for a missing model
// name.
const listedModels = 20

// onlyModel returns the model for a request that names none, if the pool has exactly
// one: vLLM does not require the name. missing is the error for the missing name;
// other errors are returned unchanged.
func (s *snapshot) onlyModel(missing error) (string, error) {
	e, ok := errors.AsType[*openai.Error](missing)
	if !ok || e.Code != openai.CodeMissingParameter || e.Param != "model" {
		return "", missing
	}
	switch len(s.list) {
	case 0:
		return "", missing
	case 1:
		return s.list[0].ID, nil
	}
	var names []string
	for _, m := range s.list[:min(len(s.list), listedModels)] {
		names = append(names, "'"+clip(m.ID)+"'")
	}
	if len(s.list) > listedModels {
		names = append(names, "…")
	}
	explained := *e
	explained.Message += " The models are: " + strings.Join(names, ", ") + "."
	return "", &explained
}
