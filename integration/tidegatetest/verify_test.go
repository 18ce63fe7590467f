package tidegatetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// result is a correct output line for line i of a BatchInput.
func result(t *testing.T, i int) string {
	t.Helper()
	line := bytes.TrimSpace(slices.Collect(bytes.Lines(BatchInput(t, i+1, nil)))[i])
	_, body, _ := strings.Cut(string(line), `"body":`)
	answer, err := vllmsim.Expected(ChatPath, []byte(strings.TrimSuffix(body, "}")))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"id":"batch_req_%d","custom_id":%q,"response":{"status_code":200,"request_id":"r","body":%s},"error":null}`, i, CustomID(i), answer)
}

func failure(i int) string {
	return fmt.Sprintf(`{"id":"batch_req_%d","custom_id":%q,"response":null,"error":{"code":"batch_cancelled","message":"m"}}`, i, CustomID(i))
}

// TestCheckResults checks that the verifier finds each kind of error.
func TestCheckResults(t *testing.T) {
	input := BatchInput(t, 3, nil)
	zero, one, two := result(t, 0), result(t, 1), result(t, 2)
	for name, test := range map[string]struct {
		output, errors []string
		want           string // part of the first problem; "" for none
	}{
		"all right":          {[]string{zero, one, two}, nil, ""},
		"with an error":      {[]string{zero, two}, []string{failure(1)}, ""},
		"missing":            {[]string{zero, two}, nil, "line-000001 has no result"},
		"twice":              {[]string{zero, one, two, two}, nil, "line-000002 stands in the output file and in the output file"},
		"in both":            {[]string{zero, one, two}, []string{failure(1)}, "stands in the output file and in the error file"},
		"order":              {[]string{one, zero, two}, nil, "stands behind a later line"},
		"another's answer":   {[]string{zero, strings.Replace(two, CustomID(2), CustomID(1), 1), strings.Replace(one, CustomID(1), CustomID(2), 1)}, nil, "has a wrong answer"},
		"unknown":            {[]string{zero, one, two, strings.NewReplacer(CustomID(2), "x", "req_2", "req_3").Replace(two)}, nil, "not in the input"},
		"same id":            {[]string{zero, strings.Replace(one, "req_1", "req_0", 1), two}, nil, "empty or another's"},
		"cut":                {[]string{zero, one, two[:len(two)-3]}, nil, "holds no JSON"},
		"success as error":   {[]string{zero, one}, []string{two}, "without an error"},
		"failure as success": {[]string{zero, one, failure(2)}, nil, "without a success"},
	} {
		t.Run(name, func(t *testing.T) {
			results, problems := Compare(input, []byte(strings.Join(test.output, "\n")), []byte(strings.Join(test.errors, "\n")))
			if test.want == "" {
				if len(problems) > 0 || len(results.Output) != len(test.output) || len(results.Errors) != len(test.errors) {
					t.Errorf("complains: %q", problems)
				}
				return
			}
			if len(problems) == 0 || !strings.Contains(strings.Join(problems, "\n"), test.want) {
				t.Errorf("complains %q, want %q", problems, test.want)
			}
		})
	}
}

// TestCompareLines checks that without known answers every line must still have one result,
// in the right file.
func TestCompareLines(t *testing.T) {
	input := BatchInput(t, 3, nil)
	zero, one, two := result(t, 0), result(t, 1), result(t, 2)
	unknown := strings.Replace(one, "sim-", "real-", 1)
	if unknown == one {
		t.Fatal("the answer was not changed")
	}
	for name, test := range map[string]struct {
		output, errors []string
		want           string // part of the first problem; "" for none
	}{
		"all right":          {[]string{zero, unknown, two}, nil, ""},
		"with an error":      {[]string{zero, two}, []string{failure(1)}, ""},
		"missing":            {[]string{zero, two}, nil, "line-000001 has no result"},
		"order":              {[]string{unknown, zero, two}, nil, "stands behind a later line"},
		"failure as success": {[]string{zero, unknown, failure(2)}, nil, "without a success"},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := CompareLines(input, []byte(strings.Join(test.output, "\n")), []byte(strings.Join(test.errors, "\n")))
			if got := strings.Join(problems, "\n"); test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("complains %q, want %q", got, test.want)
			}
		})
	}
}
