package tidegatetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// Result is one line of an output or error file.
type Result struct {
	ID       string `json:"id"`
	CustomID string `json:"custom_id"`
	Response *struct {
		StatusCode int             `json:"status_code"`
		RequestID  string          `json:"request_id"`
		Body       json.RawMessage `json:"body"`
	} `json:"response"`
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// Results are those of a batch, by custom id.
type Results struct {
	Output map[string]Result
	Errors map[string]Result
}

// reported limits the number of wrong lines that a test reports.
const reported = 10

// CheckResults asserts that every custom_id of the input occurs exactly once in the output
// and error files together, in input order, and that every line of the output file is the
// simulated server's answer to that request. The test must check the contents of the error
// file.
func CheckResults(tb testing.TB, input, output, errors []byte) Results {
	tb.Helper()
	results, problems := Compare(input, output, errors)
	for i, problem := range problems {
		if i == reported {
			tb.Errorf("and %d more", len(problems)-reported)
			break
		}
		tb.Error(problem)
	}
	if len(problems) > 0 {
		tb.FailNow()
	}
	return results
}

// asked is one line of a batch input.
type asked struct {
	CustomID string          `json:"custom_id"`
	URL      string          `json:"url"`
	Body     json.RawMessage `json:"body"`
	index    int
}

// Compare is CheckResults that returns the problems.
func Compare(input, output, errors []byte) (r Results, problems []string) {
	c := newChecker()
	r = c.results(input, output, errors)
	for id, result := range r.Output {
		c.answer(id, result)
	}
	return r, c.problems
}

// CompareLines is Compare for results of a server with unknown answers: it finds lines that
// are missing, repeated, misplaced or in the wrong file.
func CompareLines(input, output, errors []byte) (r Results, problems []string) {
	c := newChecker()
	r = c.results(input, output, errors)
	for id, result := range r.Output {
		if result.Error != nil || result.Response == nil || result.Response.StatusCode != http.StatusOK {
			c.complain("%s stands in the output file without a success: %+v", id, result)
		}
	}
	return r, c.problems
}

func newChecker() *checker {
	return &checker{lines: map[string]asked{}, seen: map[string]string{}, ids: map[string]bool{}}
}

// results checks that every line of the input has one result.
func (c *checker) results(input, output, errors []byte) (r Results) {
	for line := range bytes.Lines(input) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var a asked
		if err := json.Unmarshal(line, &a); err != nil {
			c.complain("the input holds no JSON: %v", err)
			continue
		}
		a.index = len(c.lines)
		c.lines[a.CustomID] = a
	}
	r = Results{Output: c.file("output", output), Errors: c.file("error", errors)}
	for id, result := range r.Errors {
		if result.Error == nil && (result.Response == nil || result.Response.StatusCode < http.StatusBadRequest) {
			c.complain("%s stands in the error file without an error: %+v", id, result)
		}
	}
	for id := range c.lines {
		if c.seen[id] == "" {
			c.complain("%s has no result", id)
		}
	}
	return r
}

type checker struct {
	lines    map[string]asked
	seen     map[string]string // custom_id to the file that has it
	ids      map[string]bool   // of results
	problems []string
}

func (c *checker) complain(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// file reads an output or error file.
func (c *checker) file(name string, content []byte) map[string]Result {
	results := map[string]Result{}
	last := -1
	for line := range bytes.Lines(content) {
		var r Result
		if err := json.Unmarshal(line, &r); err != nil {
			c.complain("the %s file holds no JSON: %v: %.200s", name, err, line)
			continue
		}
		a, known := c.lines[r.CustomID]
		switch {
		case !known:
			c.complain("the %s file has %q, which is not in the input", name, r.CustomID)
		case c.seen[r.CustomID] != "":
			c.complain("%s stands in the %s file and in the %s file", r.CustomID, c.seen[r.CustomID], name)
		case a.index < last:
			c.complain("%s stands behind a later line in the %s file", r.CustomID, name)
		}
		if r.ID == "" || c.ids[r.ID] {
			c.complain("%s has the id %q, which is empty or another's", r.CustomID, r.ID)
		}
		c.ids[r.ID] = true
		c.seen[r.CustomID] = name
		last = max(last, a.index)
		results[r.CustomID] = r
	}
	return results
}

// answer compares a line of the output file with the server's answer.
func (c *checker) answer(id string, r Result) {
	a, known := c.lines[id]
	if !known {
		return // complained of
	}
	if r.Error != nil || r.Response == nil || r.Response.StatusCode != http.StatusOK {
		c.complain("%s stands in the output file without a success: %+v", id, r)
		return
	}
	want, err := vllmsim.Expected(a.URL, a.Body)
	if err != nil {
		c.complain("%s stands in the output file, and the server refuses it: %v", id, err)
		return
	}
	var compact bytes.Buffer // a result is one line, independent of the server's formatting
	if err := json.Compact(&compact, want); err != nil {
		c.complain("the expected answer of %s is no JSON: %v", id, err)
		return
	}
	if !bytes.Equal(r.Response.Body, compact.Bytes()) {
		c.complain("%s has a wrong answer:\n got %.300s\nwant %.300s", id, r.Response.Body, compact.Bytes())
	}
}
