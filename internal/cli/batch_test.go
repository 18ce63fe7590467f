package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/openai"
)

// customIDs are the lines of a file of results, in their order.
func customIDs(t *testing.T, text string) (ids []string) {
	t.Helper()
	for line := range strings.Lines(text) {
		ids = append(ids, jsonOf[struct {
			CustomID string `json:"custom_id"`
		}](t, line).CustomID)
	}
	return ids
}

func TestSubmitWithOutput(t *testing.T) {
	g := newGateway(t)
	dir := t.TempDir()
	output, errs := filepath.Join(dir, "out.jsonl"), filepath.Join(dir, "out.errors.jsonl")
	in := write(t, "in.jsonl", requests("a", "refuse", "c"))

	got := g.run("batch", "submit", in, "--output", output).want(t, ExitIncomplete, "is completed: 2 of 3 lines completed, 1 failed")
	if ids := customIDs(t, read(t, output)); !slices.Equal(ids, []string{"line-0", "line-2"}) {
		t.Errorf("results of %q", ids)
	}
	if ids := customIDs(t, read(t, errs)); !slices.Equal(ids, []string{"line-1"}) {
		t.Errorf("errors of %q", ids)
	}
	if !strings.Contains(got.err, "wrote "+output+"\n") || !strings.Contains(got.err, "wrote "+errs+"\n") {
		t.Errorf("said %q", got.err)
	}
	if !strings.Contains(got.out, "\nstatus       completed\n") || !strings.Contains(got.out, "\nlines        3: 2 completed, 1 failed\n") {
		t.Errorf("printed\n%s", got.out)
	}

	t.Run("errors of an earlier batch do not stay", func(t *testing.T) {
		g.run("batch", "submit", write(t, "ok.jsonl", requests("a")), "--output", output).want(t, 0)
		if ids := customIDs(t, read(t, output)); !slices.Equal(ids, []string{"line-0"}) {
			t.Errorf("results of %q", ids)
		}
		if _, err := os.Stat(errs); !os.IsNotExist(err) {
			t.Errorf("old errors file: got %v, want it removed", err)
		}
	})
	t.Run("nor do its results", func(t *testing.T) {
		g.run("batch", "submit", write(t, "no.jsonl", requests("refuse")), "--output", output).want(t, ExitIncomplete)
		if text := read(t, output); text != "" {
			t.Errorf("results %q", text)
		}
		if ids := customIDs(t, read(t, errs)); !slices.Equal(ids, []string{"line-0"}) {
			t.Errorf("errors of %q", ids)
		}
	})
	t.Run("but none of a batch that did not run", func(t *testing.T) {
		if err := os.WriteFile(output, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		bad := strings.Replace(requests("a", "b"), `"custom_id":"line-1"`, `"custom_id":"line-0"`, 1) + "{\n"
		got := g.run("batch", "submit", write(t, "bad.jsonl", bad), "--output", output).
			want(t, ExitIncomplete, "failed: its input did not validate: line 2: duplicate_custom_id: ", "1 finding more")
		if text := read(t, output); text != "mine" {
			t.Errorf("results %q", text)
		}
		if !strings.Contains(got.out, "line 3: invalid_json_line: ") {
			t.Errorf("printed\n%s", got.out)
		}
	})
	t.Run("named errors, all completed", func(t *testing.T) {
		named := filepath.Join(dir, "named")
		g.run("batch", "submit", write(t, "ok.jsonl", requests("a")), "--output", output, "--errors", named).want(t, 0)
		if text := read(t, named); text != "" {
			t.Errorf("errors %q", text)
		}
	})
	t.Run("to standard output", func(t *testing.T) {
		got := g.run("batch", "submit", in, "--output", "-").want(t, ExitIncomplete)
		if ids := customIDs(t, got.out); !slices.Equal(ids, []string{"line-0", "line-2"}) {
			t.Errorf("printed %s", got.out)
		}
		if !strings.Contains(got.err, "--errors FILE writes them") {
			t.Errorf("said %q", got.err)
		}
	})
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestSubmitJSON(t *testing.T) {
	g := newGateway(t)
	in := write(t, "in.jsonl", requests("a", "b"))
	output := filepath.Join(t.TempDir(), "out.jsonl")
	got := g.run("batch", "submit", in, "--json", "--metadata", "note=a, b=c", "--metadata", "empty=", "--window", "2h", "--output", output).want(t, 0)
	b := jsonOf[openai.Batch](t, got.out)
	if b.Status != "completed" || b.RequestCounts.Completed != 2 || b.CompletionWindow != "2h" || b.Endpoint != "/v1/chat/completions" {
		t.Errorf("%+v", b)
	}
	if len(b.Metadata) != 2 || b.Metadata["note"] != "a, b=c" || b.Metadata["empty"] != "" {
		t.Errorf("metadata %q", b.Metadata)
	}
	if strings.Contains(got.err, "wrote") {
		t.Errorf("said %q", got.err)
	}
	b = jsonOf[openai.Batch](t, g.run("batch", "submit", in, "--json").want(t, 0).out)
	if b.ID == "" || b.InputFileID == "" {
		t.Errorf("%+v", b)
	}
}

// TestSubmitMistakes checks that invalid arguments are reported before the upload.
func TestSubmitMistakes(t *testing.T) {
	g := newGateway(t)
	good, dir := write(t, "in.jsonl", requests("a")), t.TempDir()
	for name, tt := range map[string]struct {
		args []string
		say  string
	}{
		"no file":              {[]string{filepath.Join(dir, "none.jsonl")}, "no such file"},
		"directory":            {[]string{dir}, dir + " is a directory"},
		"empty":                {[]string{write(t, "x", "")}, "there is no request in it; give --endpoint"},
		"blank":                {[]string{write(t, "x", "\n \n\r\n")}, "there is no request in it"},
		"no JSON":              {[]string{write(t, "x", "\n{hello\n")}, "line 2 is no request"},
		"an array":             {[]string{write(t, "x", `[{"url":"/v1/embeddings"}]`)}, "line 1 is no request: it is a JSON array; a batch has one request a line"},
		"an indented array":    {[]string{write(t, "x", "[\n {}\n]")}, "line 1 is no request: it is the beginning of a JSON array"},
		"an indented object":   {[]string{write(t, "x", "{\n \"url\": \"\"}")}, "line 1 is no request: the JSON object does not end on its line"},
		"a string":             {[]string{write(t, "x", `"hello"`)}, "line 1 is no request: it is JSON, but no object"},
		"url is a number":      {[]string{write(t, "x", `{"url":7}`)}, "line 1: url is no string: 7"},
		"priority too large":   {[]string{good, "--priority", "101"}, "--priority 101 must be from -100 to 100"},
		"no url":               {[]string{write(t, "x", `{"custom_id":"a"}`)}, "line 1 names no url; give --endpoint"},
		"endless line":         {[]string{write(t, "x", strings.Repeat(" ", maxFirstLine+1)+"{}")}, "there is no request in it"},
		"other endpoint":       {[]string{write(t, "x", `{"url":"/v1/chat"}`)}, `--endpoint "/v1/chat" must be one of /v1/chat/completions, `},
		"other endpoint named": {[]string{good, "--endpoint", "/v1/files"}, `--endpoint "/v1/files" must be one of`},
		"cut gzip":             {[]string{write(t, "x", "\x1f\x8b\x08")}, "finding the endpoint in"},
		"cut zstd":             {[]string{write(t, "x", "\x28\xb5\x2f\xfd")}, "finding the endpoint in"},
		"cut bzip2":            {[]string{write(t, "x", "BZh9")}, "finding the endpoint in"},
		"zip":                  {[]string{write(t, "x", "PK\x03\x04")}, "is a zip archive: give --endpoint"},
		"window of words":      {[]string{good, "--window", "a day"}, `--window "a day" must be`},
		"window too short":     {[]string{good, "--window", "59s"}, `--window "59s" must be`},
		"window too long":      {[]string{good, "--window", "721h"}, `--window "721h" must be`},
		"metadata":             {[]string{good, "--metadata", "a"}, `--metadata "a" must be key=value`},
		"metadata without key": {[]string{good, "--metadata", "=a"}, `--metadata "=a" must be key=value`},
		"metadata twice":       {[]string{good, "--metadata", "a=1", "--metadata", "a=2"}, `names "a" twice`},
		"errors alone":         {[]string{good, "--errors", filepath.Join(dir, "e")}, "--errors requires --output"},
		"no directory":         {[]string{good, "--output", filepath.Join(dir, "no", "o")}, "cannot be written"},
		"output is directory":  {[]string{good, "--output", dir}, dir + " is a directory"},
		"errors in directory":  {[]string{good, "--output", filepath.Join(dir, "o"), "--errors", dir}, dir + " is a directory"},
		"one file for both":    {[]string{good, "--output", filepath.Join(dir, "o"), "--errors", dir + "/./o"}, "cannot both go to"},
		"two files":            {[]string{good, good}, "accepts 1 arg(s)"},
	} {
		t.Run(name, func(t *testing.T) {
			got := g.run(append([]string{"batch", "submit"}, tt.args...)...).want(t, 1, tt.say)
			if got.error != nil && strings.Contains(got.error.Error(), "Go ") {
				t.Errorf("error %q speaks of Go's types", got.error)
			}
		})
	}
	if files := g.files(); len(files) > 0 {
		t.Errorf("uploaded %q", files)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestSubmitThatIsRefused checks that a batch that the gateway refuses leaves no uploaded
// file.
func TestSubmitThatIsRefused(t *testing.T) {
	g := newGateway(t)
	in := write(t, "in.jsonl", requests("a"))
	g.run("batch", "submit", in, "--metadata", strings.Repeat("k", 65)+"=v").want(t, 1, "creating a batch of file-", "400")
	if files := g.files(); len(files) > 0 {
		t.Errorf("left %q", files)
	}
	g.intercept(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/batches" || r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusForbidden)
			panic(answeredByHook{})
		}
	})
	g.run("batch", "submit", in).want(t, 1, "creating a batch of file-", "\ndeleting file-")
	g.intercept(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/files" {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			panic(answeredByHook{})
		}
	})
	g.run("batch", "submit", in).want(t, 1, "uploading "+in+": 413")
}

func TestListShow(t *testing.T) {
	g := newGateway(t)
	if got := g.run("batch", "list").want(t, 0); got.out != "ID  STATUS  LINES  COMPLETED  FAILED  MODEL  AGE  FILE\n" {
		t.Errorf("printed %q", got.out)
	}
	done := g.ran("a", "refuse")
	running := g.submit("hold")
	defer g.release()
	bad := g.run("batch", "submit", write(t, "x", `{"url":"/v1/embeddings"}`)).id(t)
	g.run("batch", "wait", bad).want(t, ExitIncomplete, "did not validate")

	columns := func(args ...string) (rows [][]string) {
		t.Helper()
		lines := strings.Split(strings.TrimSpace(g.run(append([]string{"batch", "list"}, args...)...).want(t, 0).out), "\n")
		for _, line := range lines[1:] {
			rows = append(rows, strings.Fields(line))
		}
		return rows
	}
	rows := columns()
	if len(rows) != 3 || rows[0][0] != bad || rows[1][0] != running || rows[2][0] != done {
		t.Fatalf("listed %q", rows)
	}
	if got := rows[2][len(rows[2])-1]; got != "in.jsonl" {
		t.Errorf("file %q, want in.jsonl", got)
	}
	if want := []string{done, "completed", "2", "1", "1", "m"}; !slices.Equal(rows[2][:6], want) {
		t.Errorf("listed %q, want %q", rows[2], want)
	}
	if want := []string{bad, "failed", "0", "0", "0", "-"}; !slices.Equal(rows[0][:6], want) {
		t.Errorf("listed %q, want %q", rows[0], want)
	}
	if rows := columns("--status", "completed"); len(rows) != 1 || rows[0][0] != done {
		t.Errorf("listed %q", rows)
	}
	if rows := columns("--limit", "2"); len(rows) != 2 || rows[0][0] != bad {
		t.Errorf("listed %q", rows)
	}
	if rows := columns("--limit", "0"); len(rows) != 3 {
		t.Errorf("listed %q", rows)
	}
	var ids []string
	for line := range strings.Lines(g.run("batch", "list", "--json").want(t, 0).out) {
		ids = append(ids, jsonOf[openai.Batch](t, line).ID)
	}
	if !slices.Equal(ids, []string{bad, running, done}) {
		t.Errorf("listed %q", ids)
	}
	g.run("batch", "list", "--status", "complete").want(t, 1, `--status "complete" must be one of validating, in_progress, finalizing, completed, failed, expired, cancelling, cancelled`)
	g.run("batch", "list", "--limit", "-1").want(t, 1, "--limit -1 must not be negative")
	g.run("batch", "list", "x").want(t, 1, "unknown command")

	shown := g.run("batch", "show", done).want(t, 0).out
	for _, row := range []string{"id ", "status ", "endpoint ", "model ", "lines ", "tokens ", "input ", "output ", "errors ", "created ", "in progress ", "finalizing ", "completed "} {
		if !strings.Contains("\n"+shown, "\n"+row) {
			t.Errorf("no row %q in\n%s", row, shown)
		}
	}
	if b := jsonOf[openai.Batch](t, g.run("batch", "show", done, "--json").want(t, 0).out); b.ID != done || b.RequestCounts.Failed != 1 {
		t.Errorf("%+v", b)
	}
	g.run("batch", "show", "batch_none").want(t, 1, "No batch found with id 'batch_none'. (404)")
	g.run("batch", "show", "").want(t, 1, "an id is empty")
	g.run("batch", "show").want(t, 1, "accepts 1 arg(s)")
}

func TestDescribeIsFitForATerminal(t *testing.T) {
	var out strings.Builder
	line := 7
	describe(&out, openai.Batch{
		ID: "batch_1", Status: "failed", Model: new("m\x1b[31m"), Metadata: map[string]string{"b": "two\nlines", "a": "tab\tbed"},
		Errors: &openai.BatchErrors{Data: []openai.BatchError{{Code: "x", Message: "\x1b]0;title\a", Line: &line}, {Code: "y", Message: "of the file"}}},
	})
	if strings.ContainsAny(out.String(), "\x1b\a\t") {
		t.Errorf("printed %q", out.String())
	}
	if a, b := strings.Index(out.String(), "a=tab"), strings.Index(out.String(), "b=two"); a < 0 || b < a {
		t.Errorf("metadata in no order:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "error     line 7: x: ") || !strings.Contains(out.String(), "error     y: of the file\n") {
		t.Errorf("printed\n%s", out.String())
	}
}

func TestResults(t *testing.T) {
	g := newGateway(t)
	mixed, fine, none := g.ran("a", "refuse"), g.ran("a"), g.ran("refuse")
	dir := t.TempDir()

	got := g.run("batch", "results", mixed).want(t, 0)
	if ids := customIDs(t, got.out); !slices.Equal(ids, []string{"line-0"}) || !strings.Contains(got.err, "not every line completed") {
		t.Errorf("printed %s%s", got.out, got.err)
	}
	errs := filepath.Join(dir, "e")
	got = g.run("batch", "results", mixed, "--errors", errs).want(t, 0)
	if ids := customIDs(t, read(t, errs)); !slices.Equal(ids, []string{"line-1"}) || strings.Contains(got.err, "not every") {
		t.Errorf("errors %s; said %q", read(t, errs), got.err)
	}
	if got := g.run("batch", "results", fine).want(t, 0); got.err != "" {
		t.Errorf("said %q", got.err)
	}
	if got := g.run("batch", "results", none).want(t, 0); got.out != "" {
		t.Errorf("printed %q", got.out)
	}
	output := filepath.Join(dir, "o.jsonl")
	g.run("batch", "results", mixed, "--output", output).want(t, 0)
	if a, b := customIDs(t, read(t, output)), customIDs(t, read(t, filepath.Join(dir, "o.errors.jsonl"))); len(a) != 1 || len(b) != 1 {
		t.Errorf("%q and %q", a, b)
	}
	g.run("batch", "results", mixed, "--output", filepath.Join(dir, "no", "o")).want(t, 1, "cannot be written")
	g.run("batch", "results", "batch_none").want(t, 1, "404")

	running := g.submit("hold")
	g.run("batch", "results", running).want(t, 1, "it has no results yet")
	g.release()
	bad := g.run("batch", "submit", write(t, "x", `{"url":"/v1/embeddings"}`)).id(t)
	g.run("batch", "wait", bad)
	if got := g.run("batch", "results", bad).want(t, ExitIncomplete, "its input did not validate"); got.out != "" {
		t.Errorf("printed %q", got.out)
	}
}

// TestResultsInOnePieceOrNotAtAll checks that an incomplete file is not written, and that
// the existing file stays.
func TestResultsInOnePieceOrNotAtAll(t *testing.T) {
	g := newGateway(t)
	id := g.ran("a")
	output := write(t, "out.jsonl", "mine")
	g.intercept(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/content") {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusForbidden)
				panic(answeredByHook{})
			}
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("some of it"))
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			panic(http.ErrAbortHandler)
		}
	})
	g.run("batch", "results", id, "--output", output).want(t, 1, "writing "+output+": downloading file-", "403")
	if text := read(t, output); text != "mine" {
		t.Errorf("written: %q", text)
	}
	if left, err := os.ReadDir(filepath.Dir(output)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCancel(t *testing.T) {
	g := newGateway(t)
	one, two := g.submit("a", "hold"), g.submit("hold")
	got := g.run("batch", "cancel", one, "batch_none", two).want(t, 1, "1 of 3 failed")
	if !strings.Contains(got.err, "Error: cancelling batch_none: No batch found") {
		t.Errorf("said %q", got.err)
	}
	for line := range strings.Lines(got.out) {
		if !strings.HasSuffix(line, " cancelling\n") && !strings.HasSuffix(line, " cancelled\n") {
			t.Errorf("printed %q", line)
		}
	}
	waited := g.run("batch", "wait", one, two).want(t, ExitIncomplete, one+" is cancelled: ", two+" is cancelled: ")
	if want := fmt.Sprintf("%s cancelled\n%s cancelled\n", one, two); waited.out != want {
		t.Errorf("printed %q, want %q", waited.out, want)
	}
	if b := jsonOf[openai.Batch](t, g.run("batch", "cancel", one, "--json").want(t, 0).out); b.Status != "cancelled" {
		t.Errorf("%+v", b)
	}
	g.run("batch", "cancel", g.ran("a")).want(t, 1, "Cannot cancel a batch with status 'completed'. (409)")
	g.run("batch", "cancel").want(t, 1, "requires at least 1 arg")
}

func TestDeleteBatches(t *testing.T) {
	g := newGateway(t)
	one, two := g.ran("a"), g.ran("b")
	running := g.submit("hold")
	g.run("batch", "delete").want(t, 1, "name ids, or give --all")
	g.run("batch", "delete", one, "--all").want(t, 1, "name ids, or give --all")
	g.pipe(strings.NewReader("no\n"), "batch", "delete", one).want(t, 1, "not confirmed")
	g.run("batch", "delete", running, "--yes").want(t, 1, "deleting "+running+": Cannot delete a batch with status", "Cancel it first. (409)")
	g.run("batch", "delete", "batch_none", "--yes").want(t, 1, "404")
	if got := g.batches(); len(got) != 3 {
		t.Fatalf("left %q", got)
	}
	got := g.pipe(strings.NewReader("y\n"), "batch", "delete", one, "batch_none", "--input").want(t, 1, "1 of 2 failed")
	if got.out != "deleted "+one+"\n" || !strings.HasPrefix(got.err, "Delete 2 batches and their results? [y/N] ") {
		t.Errorf("printed %q, said %q", got.out, got.err)
	}
	if d := jsonOf[openai.Deleted](t, g.run("batch", "delete", two, "--yes", "--json").want(t, 0).out); d.ID != two || !d.Deleted {
		t.Errorf("%+v", d)
	}
	if files := g.files(); len(files) != 2 { // of two and running
		t.Errorf("files %q", files)
	}
}

func TestDeleteAllBatches(t *testing.T) {
	g := newGateway(t)
	if got := g.run("batch", "delete", "--all").want(t, 0); !strings.Contains(got.err, "nothing to delete") {
		t.Errorf("said %q", got.err)
	}
	g.ran("a")
	kept := g.ran("b")
	gone := g.ran("c")
	g.submit("hold") // is cancelled first
	g.intercept(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodDelete {
			return
		}
		switch filepath.Base(r.URL.Path) {
		case kept:
			w.WriteHeader(http.StatusForbidden)
			panic(answeredByHook{})
		case gone:
			w.WriteHeader(http.StatusNotFound) // another client deleted it first
			panic(answeredByHook{})
		}
	})
	got := g.run("batch", "delete", "--all", "--yes", "--input").want(t, 1, "1 of 4 failed")
	if !strings.Contains(got.err, "Error: deleting "+kept+": 403 Forbidden") {
		t.Errorf("said %q", got.err)
	}
	if n := strings.Count(got.out, "deleted batch_"); n != 2 {
		t.Errorf("printed %q", got.out)
	}
	if left := g.batches(); !slices.Equal(left, []string{gone, kept}) {
		t.Errorf("left %q", left)
	}
	// An unreachable gateway gets no further requests.
	g.intercept(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	s := g.session()
	tries := 0
	err := s.each(t.Context(), []string{"a", "b", "c"}, func(id string) error { tries++; _, err := s.Batch(t.Context(), id); return err })
	if err == nil || tries != 1 {
		t.Errorf("%d tries, %v", tries, err)
	}
}

// TestStopBatchThatHasJustEnded checks that a batch that ends before its cancellation is
// deleted.
func TestStopBatchThatHasJustEnded(t *testing.T) {
	g := newGateway(t)
	id := g.ran("a")
	looks := 0
	g.intercept(func(w http.ResponseWriter, r *http.Request) {
		if looks++; looks == 1 {
			if err := json.NewEncoder(w).Encode(openai.Batch{ID: id, Object: "batch", Status: "in_progress"}); err != nil {
				t.Error(err)
			}
			panic(answeredByHook{})
		}
	})
	if err := g.session().stopBatch(t.Context(), id); err != nil {
		t.Error(err)
	}
	if looks != 3 { // look, cancel (409), look
		t.Errorf("%d requests", looks)
	}
}

func TestUnknownCommands(t *testing.T) {
	g := newGateway(t)
	g.run("batch", "lst").want(t, 1, `unknown command "lst" for "tidegate batch"; did you mean list?`)
	g.run("files", "frobnicate").want(t, 1, `unknown command "frobnicate" for "tidegate files"`)
	if got := g.run("batch").want(t, 0); !strings.Contains(got.out, "submit") {
		t.Errorf("printed %q", got.out)
	}
}
