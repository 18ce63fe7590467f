package batchtest

import (
	"bufio"
	"encoding/json"

	"github.com/tidegate/tidegate/batch"
)

// Record is a line of an output or error file.
type Record struct {
	CustomID string `json:"custom_id"`
	Response *struct {
		StatusCode int             `json:"status_code"`
		Body       json.RawMessage `json:"body"`
	} `json:"response"`
	Error *struct{ Code, Message string } `json:"error"`
}

// Read returns the lines of a file of results; none for the id "".
func (h *Harness) Read(fileID string) []Record {
	h.T.Helper()
	if fileID == "" {
		return nil
	}
	_, content, err := batch.OpenFile(h.T.Context(), h.Engine.Store(), h.Engine.Files(), Tenant, fileID)
	if err != nil {
		h.T.Fatal(err)
	}
	defer content.Close()
	var out []Record
	for scanner := bufio.NewScanner(content); scanner.Scan(); {
		var r Record
		if err := json.Unmarshal(scanner.Bytes(), &r); err != nil {
			h.T.Fatalf("line %q: %v", scanner.Text(), err)
		}
		out = append(out, r)
	}
	return out
}

// Check asserts that the results of a batch of Input(n) contain every line exactly once,
// the output in order and with the right answers. It returns the errors.
func (h *Harness) Check(b batch.Batch, n int) []Record {
	h.T.Helper()
	seen := make(map[string]int)
	previous := ""
	output, errs := h.Read(b.OutputFileID), h.Read(b.ErrorFileID)
	for _, r := range output {
		seen[r.CustomID]++
		if r.CustomID <= previous {
			h.T.Errorf("got %s after %s, want input order", r.CustomID, previous)
		}
		previous = r.CustomID
		if want := Echo(r.CustomID); r.Response == nil || string(r.Response.Body) != want {
			h.T.Errorf("%s: got response %+v, want %s", r.CustomID, r.Response, want)
		}
	}
	for _, r := range errs {
		seen[r.CustomID]++
	}
	for i := range n {
		if id := CustomID(i); seen[id] != 1 {
			h.T.Errorf("got %d results of %s, want 1", seen[id], id)
		}
	}
	if len(seen) != n {
		h.T.Errorf("got %d custom_ids in the results, want %d", len(seen), n)
	}
	if int64(len(output)) != b.Counts.Completed {
		h.T.Errorf("got %d lines of output, want the %d that the batch counts", len(output), b.Counts.Completed)
	}
	return errs
}
