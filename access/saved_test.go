package access

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

func savedExample() []Key {
	at := time.Unix(2_000_000_000, 0).UTC()
	return []Key{
		{ID: "key_1", Name: "one", Tenant: "a", Hash: Sum("tg-one"), Scopes: []Scope{Admin}},
		{ID: "key_2", Name: "two", Tenant: "b", Hash: Sum("tg-two"), Scopes: []Scope{Live, Batch}, Models: []string{"m"}, Limits: Limits{RequestsPerMinute: 7, BatchesPerHour: 2}, ExpiresAt: at, PreviousHash: Sum("tg-old"), PreviousUntil: at},
	}
}

func TestSavedKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "keys.json")
	if _, err := Load(path, "store"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: got %v, want fs.ErrNotExist", err)
	}
	want := savedExample()
	for range 2 { // the second one replaces the first
		if err := Save(path, "store", append(savedExample(), Key{ID: "key_3", Name: "three", Tenant: "a", Scopes: []Scope{Live}, RevokedAt: time.Unix(1, 0)})); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Load(path, "store")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %s, want 0600", info.Mode())
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(text), "tg-") {
		t.Errorf("the file has a key: %s, %v", text, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("got %d files, %v, want one", len(entries), err)
	}
}

// Files that were not written by this gateway for this store are refused.
func TestSavedKeysAreChecked(t *testing.T) {
	for name, change := range map[string]func(text string) string{
		"empty":            func(string) string { return "" },
		"cut":              func(s string) string { return s[:len(s)/2] },
		"another format":   func(s string) string { return strings.Replace(s, `"format":1`, `"format":2`, 1) },
		"no format":        func(s string) string { return strings.Replace(s, `"format":1,`, ``, 1) },
		"another store":    func(s string) string { return strings.Replace(s, `"store":"store"`, `"store":"other"`, 1) },
		"an unknown scope": func(s string) string { return strings.Replace(s, `"admin"`, `"root"`, 1) },
		"a short hash":     func(s string) string { return strings.Replace(s, `"sha256":"`, `"sha256":"00`, 1) },
		"a bad tenant":     func(s string) string { return strings.Replace(s, `"tenant":"a"`, `"tenant":"../a"`, 1) },
		"no scope":         func(s string) string { return strings.Replace(s, `["admin"]`, `[]`, 1) },
	} {
		path := filepath.Join(t.TempDir(), "keys.json")
		if err := Save(path, "store", savedExample()); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := change(string(text))
		if changed == string(text) {
			t.Fatalf("%s: the file was not changed", name)
		}
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if keys, err := Load(path, "store"); err == nil {
			t.Errorf("%s: got %+v, want an error", name, keys)
		}
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := Save(path, "store", savedExample()); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := os.Chmod(path, 0o620); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, "store"); err == nil || !strings.Contains(err.Error(), "other users") {
		t.Errorf("a file that others can write: got %v, want an error", err)
	}
}
