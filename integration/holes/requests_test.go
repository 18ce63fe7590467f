package holes

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// A client never chooses where its request is sent.
func TestClientChoosesNoServer(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	p := startTrap(t)
	members := []string{"api_base", "base_url", "api_url", "endpoint", "url", "host", "proxy", "api_key", "custom_llm_provider", "extra_headers", "model_list", "fallbacks", "router_settings"}
	for _, name := range members {
		w.ask(t, "POST", chatPath, alice, chat(fmt.Sprintf("%q:%q", name, p.url))).want(t, name, http.StatusOK)
		if got := w.server.received(); len(got) != 1 {
			t.Errorf("%s: the server got %d requests, want 1", name, len(got))
		}
	}
	for _, name := range []string{"X-Api-Base", "X-Base-Url", "X-Upstream", "X-Original-Url", "X-Rewrite-Url", "X-Forwarded-Host", "X-Forwarded-Server", "Forwarded", "X-Litellm-Api-Base"} {
		w.ask(t, "POST", chatPath, alice, chat(""), name, p.url).want(t, name, http.StatusOK)
		if got := w.server.received(); len(got) != 1 {
			t.Errorf("%s: the server got %d requests, want 1", name, len(got))
		}
	}
	for _, bad := range []string{p.url + "/v1/chat/completions", "//" + strings.TrimPrefix(p.url, "http://") + "/v1/chat/completions", "/v1/chat/completions@" + p.url, "/../" + p.url, "/v1/load_lora_adapter", "/shutdown"} {
		file := w.upload(t, alice, "a.jsonl", strings.Replace(line("a", "sim", "x"), "/v1/chat/completions", bad, 1))
		if status := w.ended(t, alice, w.create(t, alice, file, "{}")); status != "failed" {
			t.Errorf("a line for %s: the batch is %s, want failed", bad, status)
		}
	}
	p.check(t)
	if got := w.server.received(); len(got) != 0 {
		t.Errorf("the server got %q", got)
	}
}

// The gateway fetches nothing that a request names: it passes URLs of media on.
func TestMediaURLs(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	p := startTrap(t)
	for _, url := range []string{p.url + "/a.png", "file:///etc/passwd", "http://169.254.169.254/latest/meta-data/", "http://[::1]:2019/config/"} {
		body := fmt.Sprintf(`{"model":"sim","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":%q}},{"type":"input_audio","input_audio":{"url":%q}},{"type":"video_url","video_url":{"url":%q}}]}]}`, url, url, url)
		w.ask(t, "POST", chatPath, alice, body).want(t, url, http.StatusOK)
		file := w.upload(t, alice, "a.jsonl", `{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":`+body+"}\n")
		if status := w.ended(t, alice, w.create(t, alice, file, "{}")); status != "completed" {
			t.Errorf("%s: the batch is %s", url, status)
		}
		got := w.server.received()
		if len(got) != 2 || !strings.HasSuffix(got[0], body) || !strings.HasSuffix(got[1], body) {
			t.Errorf("%s: the server got %q, want the body unchanged", url, got)
		}
	}
	p.check(t)
}

// Huge numbers and templates cost the gateway nothing: it passes them on and evaluates none.
func TestNumbersAndTemplates(t *testing.T) {
	t.Parallel()
	w := startKeyed(t)
	for _, more := range []string{
		`"n":1000000000`, `"n":9223372036854775807`, `"n":1e308`, `"n":-1`, `"best_of":1000000000`, `"max_tokens":9223372036854775807`, `"logprobs":999999999`,
		`"n":9223372036854775807,"max_tokens":9223372036854775807`, `"max_tokens":-9223372036854775808,"n":2`,
		`"chat_template":"{% for i in range(1000000000) %}{{ i }}{% endfor %}"`, `"chat_template_kwargs":{"a":"{{7*7}}"}`, `"chat_template":"{{ ''.__class__.__mro__ }}"`,
		`"guided_regex":"(a+)+$"`, `"metadata":{"a":"${jndi:ldap://x}"}`, `"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
	} {
		for _, key := range []string{alice, limited} {
			body := chat(more)
			if key == limited { // its limits count tokens and requests
				body = strings.Replace(body, `"sim"`, `"allowed"`, 1)
			}
			r := w.ask(t, "POST", chatPath, key, body)
			r.want(t, more[:min(len(more), 60)], http.StatusOK, http.StatusBadRequest, http.StatusTooManyRequests)
			for _, got := range w.server.received() {
				if !strings.HasSuffix(got, body) {
					t.Errorf("%.60s: the server got %.300q, want the body unchanged", more, got)
				}
			}
		}
	}
	w.ask(t, "GET", "/health", admin, "").want(t, "health", http.StatusOK)
}

// Two ways to frame one body are never both used.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	w := start(t, tidegatetest.Settings{App: keys, Listen: tidegatetest.FreeAddr(t)}) // for any host
	hidden := "GET /v1/keys HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + admin + "\r\nX-Hidden: yes\r\n\r\n"
	head := "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + alice + "\r\nContent-Type: application/json\r\n"
	body := chat("")
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	for what, request := range map[string]string{
		"length and chunks":      head + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n", len(chunk)+len(hidden)) + chunk + hidden,
		"short length, chunks":   head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk,
		"an unknown coding":      head + "Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\n" + chunk + hidden,
		"chunks named twice":     head + "Transfer-Encoding: chunked, chunked\r\n\r\n" + chunk + hidden,
		"identity after chunks":  head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 4\r\n\r\n" + chunk + hidden,
		"a space before a colon": head + "Transfer-Encoding : chunked\r\nContent-Length: 4\r\n\r\n" + chunk + hidden,
		"a folded header":        head + "Transfer-Encoding:\r\n chunked\r\nContent-Length: 4\r\n\r\n" + chunk + hidden,
		"a signed length":        head + fmt.Sprintf("Content-Length: +%d\r\n\r\n", len(body)) + body + hidden,
		"a chunk of sign":        head + "Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n" + hidden,
		"a bare line feed":       head + "X-A: b\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + chunk + hidden,
	} {
		got := w.raw(t, request)
		// The hidden request may be answered as one of its own when the framing is clear to
		// every proxy; where it is not, the connection ends with the first answer.
		if n := strings.Count(got, "HTTP/1.1 "); n != 1 && what != "a bare line feed" && what != "a folded header" {
			t.Errorf("%s: got %d answers, want 1: %.400q", what, n, got)
		}
		for _, request := range w.server.received() {
			if strings.Contains(request, "X-Hidden") || !strings.HasSuffix(request, body) || strings.Contains(request, "Transfer-Encoding") {
				t.Errorf("%s: the server got %q", what, request)
			}
		}
	}
}

// Large and many headers are refused, and cost other clients nothing. The test fails if the limit
// of Caddy is not in force, such as that of net/http, 1 MiB, or if the gateway has a smaller one.
func TestHeaderSize(t *testing.T) {
	t.Parallel()
	w := start(t, tidegatetest.Settings{App: keys, Listen: tidegatetest.FreeAddr(t)}) // for any host
	line := "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + alice + "\r\n"
	var many strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&many, "X-%d: aaaaaaaaaaaaaaaaaaaa\r\n", i)
	}
	for what, request := range map[string]string{
		"one of 22 KB":       line + "X-A: " + strings.Repeat("a", 22_000) + "\r\n\r\n", // the limit is 16 KiB, and net/http adds 4 KiB
		"one of 1 MB":        line + "X-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
		"one of 4 MB":        line + "X-A: " + strings.Repeat("a", 4<<20) + "\r\n\r\n",
		"a query of 22 KB":   strings.Replace(line, "/v1/models", "/v1/models?a="+strings.Repeat("a", 22_000), 1) + "\r\n",
		"many of one name":   line + strings.Repeat("X-A: aaaaaaaaaaaaaaaaaaaa\r\n", 1000) + "\r\n",
		"a hundred thousand": line + many.String() + "\r\n",
		"a key of 4 MB":      "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer tg-" + strings.Repeat("a", 4<<20) + "\r\n\r\n",
		"a path of 4 MB":     "GET /" + strings.Repeat("a", 4<<20) + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		if got := w.raw(t, request); got != "" && !strings.HasPrefix(got, "HTTP/1.1 431") && !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("%s: got %.100q, want 431", what, got)
		}
	}
	// Headers below the limit are read, however many they are, and one name may occur often.
	for what, more := range map[string]string{"two thousand": strings.Repeat("A:b\r\n", 2000), "long": "X-A: " + strings.Repeat("a", 14_000) + "\r\n"} {
		if got := w.raw(t, line+more+"Connection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Errorf("%s: got %.100q, want 200", what, got)
		}
	}
	w.ask(t, "GET", "/v1/models", alice, "").want(t, "another client", http.StatusOK)
}

// A gateway without keys answers to its own names only, whatever other headers say.
func TestHostConfusion(t *testing.T) {
	t.Parallel()
	w := start(t, tidegatetest.Settings{Listen: tidegatetest.FreeAddr(t)})
	for _, host := range []string{"evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:80", "localhost@evil.example", "127.0.0.1:80@evil.example", "2130706433", "0x7f.1", "169.254.169.254", "evil.example.", "xn--e1awd7f.com"} {
		for _, path := range []string{"/v1/models", "/v1/files", "/v1/audit", "/dashboard/", "/health", "/metrics", "/upstreams"} {
			w.ask(t, "GET", path, "", "", "Host", host).want(t, host+" "+path, http.StatusMisdirectedRequest, http.StatusBadRequest)
			w.ask(t, "GET", path, "", "", "Host", host, "X-Forwarded-Host", "localhost", "Forwarded", "host=localhost").want(t, host+" with X-Forwarded-Host", http.StatusMisdirectedRequest, http.StatusBadRequest)
		}
	}
	for _, host := range []string{"localhost", "LOCALHOST", "127.0.0.1", "[::1]", "localhost:1234"} {
		w.ask(t, "GET", "/v1/models", "", "", "Host", host, "X-Forwarded-Host", "evil.example").want(t, host, http.StatusOK)
	}
	absolute := "GET http://evil.example/v1/files HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	if got := w.raw(t, absolute); !strings.HasPrefix(got, "HTTP/1.1 421") {
		t.Errorf("an absolute target of another host: got %.100q, want 421", got)
	}
}

// A user of a single sign-on is one only under a name of the gateway: whatever identifies the
// browser, a page whose name resolves to the gateway (DNS rebinding) is not served.
func TestHostConfusionOfUsers(t *testing.T) {
	t.Parallel()
	w := start(t, tidegatetest.Settings{
		Listen: tidegatetest.FreeAddr(t), App: keys + "\nhosts gateway.example *.corp.example\nidentity {\nrole admin root\n}",
		Site: "@all not path /ready\nbasic_auth @all {\nroot " + rootHash + "\n}\ntidegate",
	})
	root := []string{"Authorization", "Basic cm9vdDpoZWxsbw=="} // root:hello
	for _, path := range []string{"/v1/models", "/v1/files", "/v1/audit", "/dashboard/", "/metrics", "/upstreams"} {
		for _, host := range []string{"evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "gateway.example.evil.example", "a.b.corp.example", "evil.example:80", "evil.example."} {
			w.ask(t, "GET", path, "", "", append(root, "Host", host, "X-Forwarded-Host", "localhost")...).want(t, host+" "+path, http.StatusMisdirectedRequest)
		}
		for _, host := range []string{"localhost", "127.0.0.1", "[::1]", "10.1.2.3", "gateway.example:8080", "a.corp.example"} {
			w.ask(t, "GET", path, "", "", append(root, "Host", host)...).want(t, host+" "+path, http.StatusOK)
		}
	}
	if r := w.ask(t, "GET", "/health", "", "", append(root, "Host", "evil.example")...); r.status != http.StatusMisdirectedRequest && strings.Contains(r.body, "upstreams") {
		t.Errorf("/health: got %d %s, want nothing but the status", r.status, r.body)
	}
}

// A page of another site changes nothing, with any method, with and without keys.
func TestForeignPages(t *testing.T) {
	t.Parallel()
	open := start(t, tidegatetest.Settings{})
	keyed := startKeyed(t)
	file := keyed.upload(t, alice, "a.jsonl", line("a", "sim", "x"))
	other := open.upload(t, "", "a.jsonl", line("a", "sim", "x"))
	basic := every(alice)[3]
	for _, from := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "null"}} {
		for _, rt := range [][2]string{{"DELETE", "/v1/files/"}, {"DELETE", "/v1/batches/"}, {"POST", "/v1/batches"}, {"POST", "/upstreams/drain"}, {"POST", "/dashboard/files/"}} {
			for w, id := range map[*world]string{open: other, keyed: file} {
				path := rt[1]
				switch path {
				case "/v1/files/":
					path += id
				case "/v1/batches/":
					path += "batch_0"
				case "/dashboard/files/":
					path += id + "/delete"
				}
				headers := slices.Clone(from)
				if w == keyed {
					headers = append(headers, basic...)
				}
				w.ask(t, rt[0], path, "", "", headers...).want(t, strings.Join(from, " ")+" "+path, http.StatusForbidden)
			}
		}
	}
	open.ask(t, "GET", "/v1/files/"+other, "", "").want(t, "the file of a gateway without keys", http.StatusOK)
	keyed.ask(t, "GET", "/v1/files/"+file, alice, "").want(t, "the file of a gateway with keys", http.StatusOK)
}

// Bodies of a server's errors are for its client, and not for the log.
func TestAnswersOfServersAreNotLogged(t *testing.T) {
	t.Parallel()
	w := start(t, tidegatetest.Settings{App: keys, Global: "debug", Batch: "retries 1\nretry_backoff 1ms 1ms", Site: "log\ntidegate"})
	for i, status := range []int{400, 401, 404, 413, 422, 429, 500, 503} {
		secret := fmt.Sprintf("provider-secret-%d", i)
		w.server.answers(status, `{"error":{"message":"prompt was `+secret+`","type":"x","code":"`+secret+`"},"detail":"`+secret+`"}`)
		w.ask(t, "POST", chatPath, alice, chat(""))
		file := w.upload(t, alice, "a.jsonl", line("a", "sim", "x"))
		w.server.received()
		batch := w.create(t, alice, file, "{}")
		tidegatetest.Eventually(t, time.Minute, "the line is sent", func() bool { return len(w.server.received()) > 0 })
		w.server.answers(0, "")
		w.ended(t, alice, batch)
		if text := w.Log(t); strings.Contains(text, secret) {
			at := strings.Index(text, secret)
			t.Errorf("%d: the log has the body: %s", status, text[max(0, at-300):min(len(text), at+100)])
		}
		tidegatetest.Eventually(t, time.Minute, "the server is used again", func() bool {
			return w.ask(t, "POST", chatPath, alice, chat("")).status == http.StatusOK
		})
	}
}
