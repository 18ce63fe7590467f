package receipt

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

func example() Receipt {
	return Receipt{
		BatchID: "batch_1", Endpoint: "/v1/chat/completions", Model: "tide-7b", Status: "completed", CreatedAt: 1790000000, EndedAt: 1790000100,
		Input: &File{"file-1", 10, "aa"}, Output: &File{"file-2", 20, "bb"}, Errors: &File{"file-3", 30, "cc"},
		Upstreams: []string{"http://gpu-0:8000", "http://gpu-1:8000/<&>ü"}, GatewayVersion: "v1",
	}
}

func signer(t *testing.T) *Signer {
	t.Helper()
	s, err := Load(filepath.Join(t.TempDir(), "receipt.key"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t *testing.T, r Receipt, s *Signer) []byte {
	t.Helper()
	text, err := Sign(r, s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestVerify(t *testing.T) {
	s := signer(t)
	text := sign(t, example(), s)
	if again := sign(t, example(), s); !bytes.Equal(text, again) {
		t.Errorf("signed again: got %s, want %s", again, text)
	}
	r, err := Verify(text, []Key{signer(t).Public(), s.Public()})
	if err != nil || r.BatchID != "batch_1" || r.Upstreams[1] != example().Upstreams[1] {
		t.Errorf("Verify: got %+v, %v", r, err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", "\t"); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(indented.Bytes(), []Key{s.Public()}); err != nil {
		t.Errorf("indented: got %v, want no error", err)
	}
	if _, err := Verify(text, []Key{signer(t).Public()}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("another key: got %v, want ErrUnknownKey", err)
	}
	forged := s.Public()
	forged.PublicKey = signer(t).Public().PublicKey
	if _, err := Verify(text, []Key{forged}); err == nil {
		t.Error("a key under the id of another: got no error, want one")
	}
}

// TestEveryByteCounts changes, removes and adds each byte of a receipt.
func TestEveryByteCounts(t *testing.T) {
	s := signer(t)
	keys := []Key{s.Public()}
	text := sign(t, example(), s)
	for i := range text {
		for _, mask := range []byte{0x01, 0x02, 0x10, 0x20, 0x80} {
			changed := bytes.Clone(text)
			changed[i] ^= mask
			if _, err := Verify(changed, keys); err == nil {
				t.Errorf("byte %d changed from %q to %q: got no error, want one", i, text[i], changed[i])
			}
		}
		if _, err := Verify(append(bytes.Clone(text[:i]), text[i+1:]...), keys); err == nil {
			t.Errorf("byte %d (%q) removed: got no error, want one", i, text[i])
		}
		if _, err := Verify(append(append(bytes.Clone(text[:i]), 'x'), text[i:]...), keys); err == nil {
			t.Errorf("a byte added at %d: got no error, want one", i)
		}
	}
	for _, more := range []string{"x", "{}", string(text)} {
		if _, err := Verify(append(bytes.Clone(text), more...), keys); err == nil {
			t.Errorf("%q added: got no error, want one", more)
		}
	}
}

// TestEveryFieldCounts changes and removes each field, and adds and repeats some.
func TestEveryFieldCounts(t *testing.T) {
	s := signer(t)
	keys := []Key{s.Public()}
	text := sign(t, example(), s)
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	if len(members) != reflect.TypeFor[Receipt]().NumField() {
		t.Fatalf("the example has %d fields, want all %d", len(members), reflect.TypeFor[Receipt]().NumField())
	}
	check := func(what string, members map[string]any) {
		changed, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(changed, keys); err == nil {
			t.Errorf("%s: got no error, want one", what)
		}
	}
	for name, value := range members {
		delete(members, name)
		check(name+" removed", members)
		for _, other := range []any{nil, "", "x", 7, []string{}, map[string]any{}, true} {
			members[name] = other
			check(name+" replaced", members)
		}
		members[name] = value
	}
	members["extra"] = 1
	check("a field added", members)
	if _, err := Verify([]byte(strings.Replace(string(text), `{`, `{"status":"failed",`, 1)), keys); err == nil {
		t.Error("a repeated field: got no error, want one")
	}
	if _, err := Verify([]byte(strings.Replace(string(text), `"status"`, `"Status"`, 1)), keys); err == nil {
		t.Error("a field in another case: got no error, want one")
	}
}

func TestCompare(t *testing.T) {
	read := func(name, text string) Content {
		c, err := Read(name, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	in, out := read("in", "input\n"), read("out", "output\n")
	r := Receipt{Input: &File{"file-1", in.Bytes, in.SHA256}, Output: &File{"file-2", out.Bytes, out.SHA256}}
	findings, missing := r.Compare([]Content{out, in})
	if findings[0].Role != "output" || findings[1].Role != "input" || len(missing) != 0 {
		t.Errorf("got %+v, %v", findings, missing)
	}
	findings, missing = r.Compare([]Content{read("x", "0utput\n"), in})
	if f := findings[0]; f.Role != "" || len(f.Differences) != 2 || !strings.Contains(f.Differences[1], "same 7 bytes") || !strings.Contains(f.Differences[0], "input file-1 has 6 bytes, this file 7") {
		t.Errorf("got %+v", f)
	}
	if len(missing) != 1 || missing[0] != "output" {
		t.Errorf("missing %v, want output", missing)
	}
	same := Receipt{Input: r.Input, Output: r.Input}
	if findings, missing := same.Compare([]Content{in, in}); findings[0].Role != "input" || findings[1].Role != "output" || len(missing) != 0 {
		t.Errorf("equal files: got %+v, %v", findings, missing)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "receipt.key")
	var wg sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		wg.Go(func() {
			s, err := Load(path)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = s.Public().KeyID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] || id == "" {
			t.Errorf("keys are %q, want one", ids)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v, want for its owner only", info, err)
	}
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("a damaged key: got no error, want one")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "damaged" {
		t.Errorf("the damaged key is %q, %v, want it unchanged", text, err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".receipt-*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
