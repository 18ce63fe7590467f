package chaos

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// told is a response to a client: every 2xx, and every refusal that the client caused.
type told struct {
	At      time.Time       `json:"at"`
	Gateway string          `json:"gateway"` // its URL
	Method  string          `json:"method"`
	Path    string          `json:"path"`
	Status  int             `json:"status"`
	Tries   int             `json:"tries"`             // calls until this response
	Body    json.RawMessage `json:"body,omitempty"`    // an answer in JSON
	Content []byte          `json:"content,omitempty"` // of a file
}

// session is the sequence of responses to one client about one batch. A client sends one
// request at a time.
type session struct {
	Name  string `json:"name"`
	Input []byte `json:"input"`
	Lines int    `json:"lines"`
	Told  []told `json:"told"`
	// Shared is set when others may delete the batch.
	Shared bool `json:"shared,omitempty"`
	// Refused are the lines that the servers refuse, by custom id.
	Refused map[string]bool `json:"refused,omitempty"`
	// Unanswered is set when a call was given up after every gateway had failed
	// to answer it for long.
	Unanswered string `json:"unanswered,omitempty"`
}

// keep writes a session to a file for people to read.
func (s *session) keep(t *testing.T) {
	text, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		t.Error(err)
		return
	}
	path := filepath.Join(os.TempDir(), "tidegate-chaos-"+s.Name+".json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Error(err)
		return
	}
	t.Logf("responses to client %s: %s", s.Name, path)
}
