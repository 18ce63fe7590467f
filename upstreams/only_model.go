package upstreams

import (
	"errors"
	"strings"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/internal/openai"
)

// listedModels limits the number of models listed in the error for a missing model
// name.
const listedModels = 20

// onlyModel returns the model for a request that names none, if the pool has exactly
// one and the client may use it: vLLM does not require the name. A client that is limited
// to one of several models must name it: without a name, a server with several models
// uses its first. missing is the error for the missing name, which lists the models of
// the client; other errors are returned unchanged.
func (s *snapshot) onlyModel(client access.Identity, missing error) (string, error) {
	e, ok := errors.AsType[*openai.Error](missing)
	if !ok || e.Code != openai.CodeMissingParameter || e.Param != "model" {
		return "", missing
	}
	if len(s.list) == 1 && client.MayUse(s.list[0].ID) {
		return s.list[0].ID, nil
	}
	var names []string
	for _, m := range s.list {
		if !client.MayUse(m.ID) {
			continue
		}
		if len(names) == listedModels {
			names = append(names, "…")
			break
		}
		names = append(names, "'"+clip(m.ID)+"'")
	}
	if names == nil {
		return "", missing
	}
	explained := *e
	explained.Message += " The models are: " + strings.Join(names, ", ") + "."
	return "", &explained
}
