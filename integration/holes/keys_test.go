package holes

import (
	"encoding/base64"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// manage makes a managed key.
func (w *world) manage(t *testing.T, body string) (id, secret string) {
	t.Helper()
	r := w.ask(t, "POST", "/v1/keys", admin, body)
	var k struct{ ID, Key string }
	if err := json.Unmarshal([]byte(r.body), &k); err != nil || k.Key == "" {
		t.Fatalf("got %d %s, want a key", r.status, r.body)
	}
	return k.ID, k.Key
}

// every returns the headers in which a key can be sent.
func every(key string) [][]string {
	return [][]string{
		{"Authorization", "Bearer " + key},
		{"X-Api-Key", key},
		{"Api-Key", key},
		{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("any:"+key))},
	}
}

// A key is data for the database, in whatever header it is.
func TestSQLInjectionByHeader(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	_, secret := w.manage(t, `{"name":"k","scopes":["read"]}`)
	for _, attack := range []string{
		`tg-' OR '1'='1`, `tg-' OR 1=1 --`, `tg-'; DROP TABLE api_keys; --`, `tg-" OR ""="`, `tg-%' UNION SELECT * FROM api_keys --`,
		`tg-\' OR 1=1 --`, `tg-') OR ('a'='a`, `' OR '1'='1`, `tg-$1`, `tg-?1`, `tg-%00`, `tg-` + strings.Repeat("'", 1000),
	} {
		for _, header := range every(attack) {
			w.ask(t, "GET", "/v1/batches", "", "", header...).want(t, strings.Join(header, ": "), http.StatusUnauthorized)
		}
	}
	w.ask(t, "GET", "/v1/batches", secret, "").want(t, "the managed key after the attacks", http.StatusOK)
	// The other texts that reach the database.
	for _, path := range []string{"/v1/batches?after=batch_'OR'1'='1", "/v1/files?after=file-'--", "/v1/files?purpose='%20OR%201=1--", "/v1/batches/demand?model='%20OR%20'1'='1", "/v1/batches/batch_'OR'1'='1"} {
		if r := w.ask(t, "GET", path, alice, ""); r.status >= 500 || strings.Contains(r.body, "SQL") || strings.Contains(r.body, "syntax") {
			t.Errorf("%s: got %d %s", path, r.status, r.body)
		}
	}
}

// A key that was accepted opens nothing for keys that begin like it.
func TestKeyCacheByPrefix(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	_, secret := w.manage(t, `{"name":"k","scopes":["read"]}`)
	for _, key := range []string{secret, alice} {
		for range 2 { // before and after it is known
			for _, other := range []string{key[:len(key)-1], key + "x", key + key, key[:20], key[:3], strings.ToUpper(key), key[1:], key + ",", key[:len(key)-1] + "~"} {
				for _, header := range every(other) {
					w.ask(t, "GET", "/v1/batches", "", "", header...).want(t, "a key like "+key, http.StatusUnauthorized)
				}
			}
			w.ask(t, "GET", "/v1/batches", key, "").want(t, "the key", http.StatusOK)
		}
	}
}

// Keys are compared in constant time: by their hashes, and never as texts.
func TestKeysAreComparedInConstantTime(t *testing.T) {
	secrets := map[string]bool{"secret": true, "key": true, "shown": true, "hash": true, "sum": true, "Secret": true, "Hash": true, "PreviousHash": true}
	constant := map[string]bool{}
	for _, dir := range []string{"../../access", "../../caddymodule"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					return n.Name.Name != "Add" // of a configuration
				case *ast.BinaryExpr:
					if (n.Op == token.EQL || n.Op == token.NEQ) && secrets[name(n.X)] && secrets[name(n.Y)] {
						t.Errorf("%s compares %s with %s", path, name(n.X), name(n.Y))
					}
				case *ast.SelectorExpr:
					if n.Sel.Name == "ConstantTimeCompare" {
						constant[filepath.Base(path)] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"ring.go", "directory.go", "keyring.go"} {
		if !constant[file] {
			t.Errorf("%s does not compare in constant time", file)
		}
	}
}

func name(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	default:
		return ""
	}
}

// A key has the same rights and limits in every header.
func TestEveryHeaderHasTheSameLimits(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	body := strings.Replace(chat(""), `"sim"`, `"allowed"`, 1)
	for _, header := range every(limited) {
		w.ask(t, "GET", "/v1/keys", "", "", header...).want(t, header[0]+" without the scope", http.StatusForbidden)
		w.ask(t, "POST", chatPath, "", chat(""), header...).want(t, header[0]+" with another model", http.StatusForbidden, http.StatusNotFound)
	}
	w.server.received()
	accepted := 0
	for range 3 {
		for _, header := range every(limited) {
			switch r := w.ask(t, "POST", chatPath, "", body, header...); r.status {
			case http.StatusOK:
				accepted++
			case http.StatusTooManyRequests:
			default:
				t.Errorf("%s: got %d %s", header[0], r.status, r.body)
			}
		}
	}
	if most := 4; accepted == 0 || accepted > most { // 3, and one that is refilled meanwhile
		t.Errorf("%d requests were accepted, want at most %d by a limit of 3 a minute", accepted, most)
	}
}

// Two keys in one request never add up, and none is chosen by its place.
func TestDuplicateHeaders(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	file := w.upload(t, alice, "a.jsonl", line("a", "sim", "x"))
	for _, pair := range [][2]string{{alice, bob}, {bob, alice}, {alice, admin}, {admin, alice}} {
		for _, headers := range [][]string{
			{"Authorization", "Bearer " + pair[0], "Authorization", "Bearer " + pair[1]},
			{"Authorization", "Bearer " + pair[0], "X-Api-Key", pair[1]},
			{"X-Api-Key", pair[0], "X-Api-Key", pair[1]},
			{"Api-Key", pair[0], "X-Api-Key", pair[1]},
		} {
			w.ask(t, "GET", "/v1/files/"+file, "", "", headers...).want(t, "two keys", http.StatusBadRequest)
			w.ask(t, "GET", "/v1/keys", "", "", headers...).want(t, "two keys", http.StatusBadRequest)
		}
	}
	var many []string
	for range 100 {
		many = append(many, "X-Api-Key", "tg-guess")
	}
	w.ask(t, "GET", "/v1/files", "", "", many...).want(t, "a hundred keys", http.StatusBadRequest)
	w.ask(t, "GET", "/v1/files/"+file, "", "", "Authorization", "Bearer "+bob+", Bearer "+alice).want(t, "two keys in one header", http.StatusUnauthorized)
	for _, request := range []string{
		"GET /v1/files HTTP/1.1\r\nHost: a\r\nHost: b\r\nAuthorization: Bearer " + alice + "\r\nConnection: close\r\n\r\n",
		"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + alice + "\r\nContent-Length: 2\r\nContent-Length: 3\r\nConnection: close\r\n\r\n{} ",
	} {
		if got := w.raw(t, request); !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("%q: got %.100q, want 400", request, got)
		}
	}
}
