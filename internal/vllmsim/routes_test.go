package vllmsim_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

func TestPlainRoutes(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{Models: []string{"org/a", `b"`}, MaxModelLen: 4096, Version: "1.2.3"})
	defer s.Close()
	for path, want := range map[string]string{"/health": "", "/ping": "", "/version": `{"version":"1.2.3"}`} {
		if w := get(t, s, path); w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	var list struct {
		Object string
		Data   []struct {
			ID, Object, Root string
			OwnedBy          string `json:"owned_by"`
			Created          int64
			Parent           *string
			MaxModelLen      int `json:"max_model_len"`
			Permission       []struct{ Object string }
		}
	}
	w := get(t, s, "/v1/models")
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || list.Object != "list" || len(list.Data) != 2 {
		t.Fatalf("models %s: %v", w.Body, err)
	}
	if m := list.Data[1]; m.ID != `b"` || m.Root != m.ID || m.Object != "model" || m.OwnedBy != "vllm" || m.MaxModelLen != 4096 || m.Created == 0 || m.Parent != nil || m.Permission[0].Object != "model_permission" {
		t.Errorf("model %+v", m)
	}
	if w := post(t, s, chatPath, `{"model":"b\"","messages":[{"role":"user","content":"x"}]}`); w.Code != http.StatusOK {
		t.Errorf("a model whose name wants escapes: %d %s", w.Code, w.Body)
	}
	// Without a model vLLM takes its first.
	if w := post(t, s, chatPath, `{"messages":[{"role":"user","content":"x"}]}`); !strings.Contains(w.Body.String(), `"model":"org/a"`) {
		t.Errorf("without a model: %d %s", w.Code, w.Body)
	}
}

func TestRefusals(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{MaxModelLen: 100})
	defer s.Close()
	const message = `"messages":[{"role":"user","content":"x"}]`
	for name, test := range map[string]struct {
		path, body string
		status     int
		want       string // is in the answer
	}{
		"unknown model":       {chatPath, `{"model":"x",` + message + `}`, 404, `{"error":{"message":"The model ` + "`x`" + ` does not exist.","type":"NotFoundError","param":"model","code":404}}`},
		"Anthropic's shape":   {"/v1/messages", `{"model":"x","max_tokens":1,` + message + `}`, 404, `{"type":"error","error":{"type":"NotFoundError","message":"The model ` + "`x`" + ` does not exist."}}`},
		"empty":               {chatPath, ``, 400, `JSON decode error`},
		"cut off":             {chatPath, `{"model":"sim",` + message, 400, `JSON decode error`},
		"two values":          {chatPath, `{"model":"sim",` + message + `} {}`, 400, `Extra data`},
		"trailing comma":      {chatPath, `{"model":"sim",}`, 400, `JSON decode error`},
		"array":               {chatPath, `[]`, 400, `must be a JSON object`},
		"invalid UTF-8":       {chatPath, "{\"model\":\"\xff\"}", 400, `JSON decode error`},
		"deep":                {chatPath, `{"x":` + strings.Repeat("[", 20000), 400, `JSON decode error`},
		"deep messages":       {chatPath, `{"messages":` + strings.Repeat(`[{"content":`, 20000), 400, `JSON decode error`},
		"no messages":         {chatPath, `{"model":"sim"}`, 400, `'loc': ('body', 'messages'), 'msg': 'Field required'`},
		"null messages":       {chatPath, `{"model":"sim","messages":null}`, 400, `Field required`},
		"empty messages":      {chatPath, `{"model":"sim","messages":[]}`, 400, `must not be empty`},
		"messages no list":    {chatPath, `{"model":"sim","messages":{}}`, 400, `valid list`},
		"model no string":     {chatPath, `{"model":1,` + message + `}`, 400, `valid string`},
		"stream no boolean":   {chatPath, `{"model":"sim","stream":"yes",` + message + `}`, 400, `valid boolean`},
		"max_tokens 0":        {chatPath, `{"model":"sim","max_tokens":0,` + message + `}`, 400, `max_tokens must be at least 1, got 0.`},
		"max_tokens fraction": {chatPath, `{"model":"sim","max_tokens":1.5,` + message + `}`, 400, `valid integer`},
		"max_tokens string":   {chatPath, `{"model":"sim","max_tokens":"9",` + message + `}`, 400, `valid integer`},
		"n 0":                 {chatPath, `{"model":"sim","n":0,` + message + `}`, 400, `n must be at least 1`},
		"n 129":               {chatPath, `{"model":"sim","n":129,` + message + `}`, 400, `n must be at most 128`},
		"too long":            {chatPath, `{"model":"sim","max_tokens":100,` + message + `}`, 400, `maximum context length is 100 tokens. However, you requested 119 tokens (19 in`},
		"no prompt":           {"/v1/completions", `{"model":"sim"}`, 400, `'prompt'`},
		"no input":            {"/v1/embeddings", `{"model":"sim"}`, 400, `'input'`},
		"no documents":        {"/v1/rerank", `{"model":"sim","query":"q"}`, 400, `'documents'`},
		"no text_1":           {"/v1/score", `{"model":"sim","text_2":"q"}`, 400, `'text_1'`},
		"no max_tokens":       {"/v1/messages", `{"model":"sim",` + message + `}`, 400, `'max_tokens'`},
	} {
		t.Run(name, func(t *testing.T) {
			w := post(t, s, test.path, test.body)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.want) || !json.Valid(w.Body.Bytes()) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, test.status, test.want)
			}
		})
	}
	stats := s.Stats()
	if stats.Rejected == 0 || stats.Rejected != stats.Calls || stats.Finished+stats.Aborted+stats.Faulted != 0 {
		t.Errorf("stats %+v", stats)
	}

	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, chatPath, strings.NewReader(chatWith("x")))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "Unsupported Media Type") {
		t.Errorf("without Content-Type: %d %s", w.Code, w.Body)
	}
}

func TestAPIKey(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{APIKey: "secret"})
	defer s.Close()
	for _, test := range []struct {
		method, path, header string
		status               int
	}{
		{"GET", "/v1/models", "", 401},
		{"GET", "/v1/models", "Bearer wrong", 401},
		{"GET", "/v1/models", "secret", 401},
		{"GET", "/v1/models", "Bearer secret", 200},
		{"POST", chatPath, "", 401},
		{"GET", "/health", "", 200},
		{"GET", "/metrics", "", 200},
		{"POST", "/sleep", "", 200}, // as in vLLM
	} {
		r := httptest.NewRequestWithContext(t.Context(), test.method, test.path, strings.NewReader("{}"))
		if test.header != "" {
			r.Header.Set("Authorization", test.header)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != test.status || w.Code == 401 && w.Body.String() != `{"error":"Unauthorized"}` {
			t.Errorf("%s %s with %q: %d %s", test.method, test.path, test.header, w.Code, w.Body)
		}
	}
	if got := s.Stats().Calls; got != 0 {
		t.Errorf("%d calls without a key", got)
	}
}

func TestControlRoutesAreCounted(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	known := []string{"/reset_prefix_cache", "/sleep", "/wake_up", "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/shutdown", "/collective_rpc"}
	for i, path := range known {
		if w := post(t, s, path, ``); w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
		if got := s.Stats().ControlCalls; got != int64(i+1) {
			t.Errorf("%s: %d control calls", path, got)
		}
	}
	for _, path := range []string{"//sleep", "/v1/../sleep", "/sleep/"} {
		if w := post(t, s, path, ``); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := get(t, s, "/etc/passwd"); w.Code != http.StatusNotFound || w.Body.String() != `{"detail":"Not Found"}` {
		t.Errorf("unknown path: %d %s", w.Code, w.Body)
	}
	if got := s.Stats(); got.ControlCalls != int64(len(known))+3 || got.UnknownPaths != 4 {
		t.Errorf("stats %+v", got)
	}
}

func TestMethods(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	for _, path := range []string{chatPath, "/v1/embeddings", "/tokenize"} {
		if w := get(t, s, path); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/v1/models", "/health", "/metrics"} {
		if w := post(t, s, path, "{}"); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET" {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
}

func TestTokenize(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	for _, body := range []string{`{"model":"sim","prompt":"h\u00e9 "}`, `{"model":"sim","messages":[{"role":"user","content":"hé "}]}`} {
		w := post(t, s, "/tokenize", body)
		var got struct {
			Count  int
			Tokens []int
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Count != 4 || !slices.Equal(got.Tokens, []int{'h', 0xc3, 0xa9, ' '}) {
			t.Errorf("%s: %s (%v)", body, w.Body, err)
		}
	}
	if w := post(t, s, "/detokenize", `{"model":"sim","tokens":[104, 195,169 ,32]}`); w.Body.String() != `{"prompt":"hé "}` {
		t.Errorf("detokenize: %s", w.Body)
	}
	for _, tokens := range []string{`[1.5]`, `[256]`, `[-1]`, `["a"]`, `[[1]]`, `7`, `"x"`} {
		if w := post(t, s, "/detokenize", `{"model":"sim","tokens":`+tokens+`}`); w.Code != http.StatusBadRequest {
			t.Errorf("detokenize %s: %d %s", tokens, w.Code, w.Body)
		}
	}
	body := `{"model":"sim","messages":[{"role":"user","content":"x"}]}`
	if w := post(t, s, "/v1/messages/count_tokens", body); w.Body.String() != `{"input_tokens":15}` {
		t.Errorf("count_tokens of %d bytes: %s", len(body), w.Body)
	}
	for path, body := range map[string]string{"/tokenize": `{"model":"sim"}`, "/detokenize": `{"model":"sim"}`, "/v1/messages/count_tokens": `{"model":"sim"}`} {
		if w := post(t, s, path, body); w.Code != http.StatusBadRequest {
			t.Errorf("%s %s: %d", path, body, w.Code)
		}
	}
	if w := post(t, s, "/tokenize", `{"model":"x","prompt":"a"}`); w.Code != http.StatusNotFound {
		t.Errorf("tokenize for an unknown model: %d", w.Code)
	}
	if got := s.Stats(); got.Calls != 0 {
		t.Errorf("stats %+v", got)
	}
}

func TestAudio(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	const path, body = "/v1/audio/transcriptions", "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nsim\r\n--b--\r\n"
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var got struct{ Text string }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Text == "" || got.Text != vllmsim.ExpectedContent(path, []byte(body)) {
		t.Errorf("transcription %s (%v)", w.Body, err)
	}
}
