package holes

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/tidegate/tidegate/batch/httpapi"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/dashboard/dashboardtest"
)

// Every line of a batch needs the right to its own model, not only the first.
func TestModelsOfEachLine(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	file := w.upload(t, limited, "a.jsonl", line("a", "allowed", "mine")+line("b", "sim", "not-mine")+line("c", "allowed", "mine"))
	w.ended(t, limited, w.create(t, limited, file, "{}"))
	cased := strings.Replace(line("a", "allowed", "not-mine"), `"model"`, `"Model":"sim","model"`, 1)
	w.ended(t, limited, w.create(t, limited, w.upload(t, limited, "b.jsonl", cased), "{}"))
	for _, got := range w.server.received() {
		if strings.Contains(got, "not-mine") {
			t.Errorf("the server got a line of another model: %s", got)
		}
	}
	for _, body := range []string{chat(""), `{"model":"allowed","model":"sim","messages":[]}`, `{"Model":"sim","model":"allowed","messages":[]}`, `{"model":"allowed","messages":[],"MODEL":"sim"}`, `{"\u006dodel":"sim","messages":[]}`} {
		r := w.ask(t, "POST", chatPath, limited, body)
		for _, got := range w.server.received() {
			if strings.Contains(strings.ToLower(got[strings.Index(got, "{"):]), `"sim"`) {
				t.Errorf("%s: got %d, and the server got %s", body, r.status, got)
			}
		}
	}
}

// A client neither reads, nor deletes, nor uses the files of others.
func TestFilesOfOthers(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	file := w.upload(t, alice, "a.jsonl", line("a", "sim", "alice-only"))
	batch := w.create(t, alice, file, "{}")
	w.ended(t, alice, batch)
	for _, rt := range [][2]string{
		{"GET", "/v1/files/" + file},
		{"DELETE", "/v1/files/" + file},
		{"GET", "/v1/files/" + file + "/content"},
		{"GET", "/v1/batches/" + batch},
		{"DELETE", "/v1/batches/" + batch},
		{"POST", "/v1/batches/" + batch + "/cancel"},
		{"GET", "/v1/batches/" + batch + "/output"},
		{"GET", "/v1/batches/" + batch + "/lines/1"},
		{"GET", "/dashboard/batches/" + batch},
		{"GET", "/dashboard/files/" + file + "/content"},
	} {
		w.ask(t, rt[0], rt[1], bob, "").want(t, rt[0]+" "+rt[1], http.StatusNotFound)
	}
	for _, path := range []string{"/v1/files", "/v1/batches", "/dashboard/", "/dashboard/files", "/dashboard/batches", "/v1/batches/dashboard"} {
		if r := w.ask(t, "GET", path, bob, ""); strings.Contains(r.body, file) || strings.Contains(r.body, batch) {
			t.Errorf("%s shows what is another's", path)
		}
	}
	made := w.ask(t, "POST", "/v1/batches", bob, fmt.Sprintf(`{"input_file_id":%q,"endpoint":"/v1/chat/completions","completion_window":"24h"}`, file))
	if made.status == http.StatusOK {
		if status := w.ended(t, bob, id(t, made)); status != "failed" {
			t.Errorf("a batch of another's file: got %s, want failed", status)
		}
	}
	w.ask(t, "GET", "/v1/files/"+file, alice, "").want(t, "its owner", http.StatusOK)
}

// Headers with an identity count nothing: the key decides.
func TestIdentityHeaders(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	file := w.upload(t, alice, "a.jsonl", line("a", "sim", "x"))
	for _, name := range []string{
		"X-Forwarded-User", "X-Remote-User", "Remote-User", "X-User", "X-User-Id", "X-Auth-Request-User", "X-Auth-Request-Email", "X-Forwarded-Email", "X-Webauth-User",
		"X-Tenant", "X-Tenant-Id", "X-Tidegate-Tenant", "X-Tidegate-User", "X-Tidegate-Key", "X-Tidegate-Scopes", "X-Role", "X-Scopes", "Openai-Organization", "Openai-Project",
		"X-Openwebui-User-Id", "X-Token-Subject", "Tailscale-User-Login", "Cf-Access-Authenticated-User-Email", "X-Ms-Client-Principal-Name",
	} {
		for _, value := range []string{"admin", "team-a", "alice", "static/admin"} {
			w.ask(t, "GET", "/v1/files", "", "", name, value).want(t, name+" alone", http.StatusUnauthorized)
			w.ask(t, "GET", "/v1/files/"+file, bob, "", name, value).want(t, name, http.StatusNotFound)
			w.ask(t, "GET", "/v1/keys", bob, "", name, value).want(t, name, http.StatusForbidden)
		}
	}
	for _, address := range []string{"127.0.0.1", "::1", "localhost"} {
		w.ask(t, "GET", "/v1/files", "", "", "X-Forwarded-For", address, "X-Real-Ip", address, "Forwarded", "for="+address).want(t, "as "+address, http.StatusUnauthorized)
	}
}

// Each spelling of a path is either the route with its checks, or no route.
func TestSpellingsOfPaths(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	for _, path := range []string{
		"/V1/keys", "/v1/KEYS", "//v1/keys", "/v1//keys", "/v1/./keys", "/v1/../v1/keys", "/v1/%6beys", "/%76%31/keys", "/v1%2fkeys", "/v1/keys%2f", "/v1/keys/", "/v1/keys//",
		"/v1/keys;a=b", "/v1/keys%00", "/v1/keys%20", "/v1/keys.json", "/v1/keys?", "/v1/keys/..;/", "/v1/files/../keys", "/v1/files/%2e%2e/keys", "/v1/files/..%2fkeys", `/v1\keys`,
		"/dashboard/../v1/keys", "/dashboard/%2e%2e/v1/keys", "/ready/../v1/keys", "/health/../v1/keys", "/%2e/v1/keys", "/v1/audit/", "/V1/audit", "/v1//audit", "/v1/audit%2f",
		"/UPSTREAMS", "//upstreams", "/upstreams/", "/upstreams%2fdrain", "/Doctor", "/doctor/", "/metrics/", "//metrics", "/Metrics", "/webhooks/", "/contents/../doctor",
		"/V1/batches", "/v1//files", "/v1/%66iles", "/DASHBOARD/", "/dashboard//", "//dashboard/", "/dashboard/audit/", "/dashboard/%61udit", "/dashboard//audit",
	} {
		w.ask(t, "GET", path, "", "").want(t, path+" without a key", http.StatusUnauthorized, http.StatusNotFound, http.StatusBadRequest, http.StatusTemporaryRedirect, http.StatusMovedPermanently)
		r := w.ask(t, "GET", path, limited, "")
		private := strings.Contains(strings.ToLower(path), "keys") || strings.Contains(path, "audit") || strings.Contains(path, "%61udit") || strings.Contains(strings.ToLower(path), "doctor") || strings.Contains(strings.ToLower(path), "metrics") || strings.Contains(path, "webhooks") || strings.Contains(path, "drain")
		if private && r.status == http.StatusOK {
			t.Errorf("%s without the scope: got %d %.200s", path, r.status, r.body)
		}
	}
	for _, method := range []string{"get", "GeT", "TRACE", "CONNECT", "PROPFIND", "OPTIONS", "HEAD", "PUT", "PATCH"} {
		for _, path := range []string{"/v1/keys", "/v1/audit", "/v1/files", "/upstreams", "/doctor"} {
			if r := w.ask(t, method, path, "", ""); r.status < 300 && method != "OPTIONS" {
				t.Errorf("%s %s: got %d", method, path, r.status)
			}
		}
	}
	if got := w.server.received(); len(got) != 0 {
		t.Errorf("the server got %q", got)
	}
}

// No route of Caddy, of a model server or of a debugger is open.
func TestUnguardedRoutes(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	for _, path := range []string{
		"/config/", "/load", "/stop", "/debug/pprof/", "/debug/vars", "/adapt", "/pki/ca/local", "/id/x", "/reverse_proxy/upstreams", "/tidegate/upstreams", "/tidegate/upstreams/drain",
		"/docs", "/redoc", "/openapi.json", "/.env", "/.git/config", "/server-status", "/actuator/env", "/env", "/admin", "/ui", "/login", "/api/keys", "/key/generate", "/user/new", "/routes",
		"/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/shutdown", "/sleep", "/wake_up", "/is_sleeping", "/reset_prefix_cache", "/collective_rpc", "/start_profile", "/stop_profile", "/server_info",
		"/invocations", "/ping", "/version", "/load", "/sim/stats", "/get_world_size", "/update_weights", "/pause", "/resume", "/api/jobs/", "/api/v0/actors", "/static/../../etc/passwd",
	} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			for _, key := range []string{"", alice, admin} {
				r := w.ask(t, method, path, key, "")
				r.want(t, fmt.Sprintf("%s %s with key %.8q", method, path, key), http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed)
			}
		}
	}
	if got := w.server.received(); len(got) != 0 {
		t.Errorf("the server got %q", got)
	}
	for _, path := range []string{"/ready", "/health"} { // the only ones without a key
		r := w.ask(t, "GET", path, "", "")
		r.want(t, path, http.StatusOK)
		if len(r.body) > 40 {
			t.Errorf("%s without a key: got %s, want the status alone", path, r.body)
		}
	}
}

// Placeholders in what clients send are text.
func TestPlaceholdersOfClients(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	secret := t.TempDir() + "/secret"
	if err := os.WriteFile(secret, []byte("text-of-a-file"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := "{env.HOLES_ADMIN}{$HOLES_ADMIN}{http.request.header.Authorization}{file." + secret + "}{system.hostname}{http.vars.x}{time.now}"
	file := w.upload(t, alice, all+".jsonl", line(all, "sim", all))
	metadata, err := json.Marshal(map[string]string{"k": all, all[:60]: "v"})
	if err != nil {
		t.Fatal(err)
	}
	batch := w.create(t, alice, file, string(metadata))
	w.ended(t, alice, batch)
	_, made := w.manage(t, `{"name":"{env.HOLES_ADMIN}{http.request.header.Authorization}","scopes":["read"]}`)
	var seen []string
	for _, path := range []string{
		"/v1/files/" + file, "/v1/batches/" + batch, "/v1/batches/" + batch + "/output", "/v1/batches/" + batch + "/lines/1", "/v1/files/" + file + "/content", "/v1/files",
		"/dashboard/batches/" + batch, "/dashboard/files", "/dashboard/batches/" + batch + "/lines/1", "/v1/batches?after={env.HOLES_ADMIN}", "/v1/{env.HOLES_ADMIN}", "/dashboard/batches?q={env.HOLES_ADMIN}",
	} {
		r := w.ask(t, "GET", path, alice, "")
		seen = append(seen, r.body+fmt.Sprint(r.header))
	}
	list := w.ask(t, "GET", "/v1/keys", admin, "")
	seen = append(seen, list.body, strings.Join(w.server.received(), "\n"), w.Log(t))
	for _, text := range seen {
		for _, secret := range []string{admin, "text-of-a-file", made} {
			if strings.Contains(text, secret) {
				t.Errorf("a placeholder was replaced by %s in %.500s", secret, text)
			}
		}
	}
	literal := 0
	for _, text := range seen {
		if strings.Contains(text, "{env.HOLES_ADMIN}") {
			literal++
		}
	}
	if literal < 6 {
		t.Errorf("the text is in %d of %d answers as it was sent, want at least 6", literal, len(seen))
	}
}

// Text of clients is never part of a page.
func TestStoredScripts(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	for i, attack := range dashboardtest.Hostile {
		if i%3 != 0 && !strings.Contains(attack, "script") { // the pages themselves are tested with all
			continue
		}
		name := strings.NewReplacer("\n", " ", "\r", " ", "/", "|", "\x00", "", `\`, "").Replace(attack)
		file := w.upload(t, alice, name+".jsonl", line(attack, "sim", attack)+line(attack+"2", "none", attack))
		metadata, err := json.Marshal(map[string]string{"k": strings.ReplaceAll(attack, "\x00", "")})
		if err != nil {
			t.Fatal(err)
		}
		batch := w.create(t, alice, file, string(metadata))
		w.ended(t, alice, batch)
		for _, path := range []string{"/dashboard/batches/" + batch, "/dashboard/batches", "/dashboard/files", "/dashboard/files/" + file + "/delete", "/dashboard/batches/" + batch + "/lines", "/dashboard/batches/" + batch + "/delete"} {
			r := w.ask(t, "GET", path, alice, "")
			r.want(t, path, http.StatusOK)
			plainPage(t, path, r)
		}
		r := w.ask(t, "GET", "/dashboard/files/"+file+"/content", alice, "")
		if !strings.HasPrefix(r.header.Get("Content-Disposition"), "attachment") || r.header.Get("X-Content-Type-Options") != "nosniff" || strings.Contains(r.header.Get("Content-Type"), "html") {
			t.Errorf("a download has the headers %v", r.header)
		}
		r = w.ask(t, "GET", "/v1/files/"+file+"/content", alice, "")
		if strings.Contains(r.header.Get("Content-Type"), "html") || r.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("a content has the headers %v", r.header)
		}
	}
}

// plainPage checks that a page has no script, style or handler but its own.
func plainPage(t *testing.T, path string, r reply) {
	t.Helper()
	if !strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%s has no policy", path)
	}
	root, err := html.Parse(strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "iframe", "object", "embed", "base", "style":
			t.Errorf("%s has an element %s", path, n.Data)
		}
		for _, a := range n.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style", strings.HasPrefix(strings.TrimSpace(strings.ToLower(a.Val)), "javascript:") && (a.Key == "href" || a.Key == "src" || a.Key == "action"),
				n.Data == "script" && a.Key == "src" && !strings.HasPrefix(a.Val, "/dashboard/assets/"):
				t.Errorf("%s has %s %s=%q", path, n.Data, a.Key, a.Val)
			}
		}
		if n.Data == "script" && n.FirstChild != nil {
			t.Errorf("%s has a script %q", path, n.FirstChild.Data)
		}
	}
}

// Guesses reveal nothing: the id of another tenant's object and an id that does not exist have
// the same answer on every route, and no guess finds anything.
func TestGuessedIDs(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	file := w.upload(t, alice, "a.jsonl", line("a", "sim", "x"))
	batch := w.create(t, alice, file, "{}")
	w.ended(t, alice, batch)
	upload := id(t, w.ask(t, "POST", "/v1/uploads", alice, `{"filename":"b.txt","purpose":"user_data","mime_type":"text/plain","bytes":1}`))
	key, _ := w.manage(t, `{"name":"k","scopes":["read"]}`)
	swap := func(id string) string { // an id of the same form that does not exist
		kind, rest, _ := strings.Cut(id, id[strings.IndexAny(id, "-_"):strings.IndexAny(id, "-_")+1])
		return id[:len(kind)+1] + strings.Repeat("0", len(rest))
	}
	routes := 0
	compare := func(method, path, id string) {
		t.Helper()
		body := ""
		if method == http.MethodPost && strings.HasPrefix(path, "/v1/") {
			body = "{}"
		}
		theirs := w.ask(t, method, strings.Replace(path, "*", id, 1), bob, body)
		none := w.ask(t, method, strings.Replace(path, "*", swap(id), 1), bob, body)
		routes++
		a, b := strings.ReplaceAll(theirs.body, id, "ID"), strings.ReplaceAll(none.body, swap(id), "ID")
		if i := strings.Index(a, "Loaded at"); i > 0 && strings.Contains(b, "Loaded at") { // the clock of a page
			a, b = a[:i], b[:strings.Index(b, "Loaded at")]
		}
		if theirs.status != none.status || a != b || theirs.status < 400 {
			t.Errorf("%s %s: another's id gets %d %.300s, an unknown one %d %.300s", method, path, theirs.status, a, none.status, b)
		}
	}
	object := func(path string) string {
		switch {
		case strings.Contains(path, "/files/"):
			return file
		case strings.Contains(path, "/uploads/"):
			return upload
		default:
			return batch
		}
	}
	for _, rt := range httpapi.Routes() {
		if strings.Contains(rt.Path, "*") {
			compare(rt.Method, strings.Replace(rt.Path, "#", "1", 1), object(rt.Path))
		}
	}
	for _, rt := range dashboard.Routes() {
		if strings.Contains(rt.Path, "{id}") && !strings.HasPrefix(rt.Path, "/events") {
			path := strings.NewReplacer("{id}", "*", "{number}", "1", "{kind}", "output").Replace(rt.Path)
			compare(rt.Method, "/dashboard"+path, object(path))
		}
	}
	for _, path := range []string{"/v1/keys/*", "/v1/keys/*/revoke", "/v1/keys/*/rotate", "/v1/keys/*/limits"} {
		compare("POST", path, key)
	}
	if routes < 30 {
		t.Errorf("%d routes were compared, want at least 30", routes)
	}
	for i := range 10_000 {
		guess := fmt.Sprintf("%032x", i*2654435761)
		for path, form := range map[string]string{"/v1/files/": "file-", "/v1/batches/": "batch_"} {
			if i%2 == 0 == (form == "file-") {
				if r := w.ask(t, "GET", path+form+guess, bob, ""); r.status != http.StatusNotFound {
					t.Fatalf("%s%s: got %d %s", path, guess, r.status, r.body)
				}
			}
		}
	}
}

// rootHash is the bcrypt hash of "hello".
const rootHash = "$2a$04$1.R5JMJOkBnBWgRfUSKAx.096z6ahIxtk7y50R.T0tR.Y9D7IzAUy"
