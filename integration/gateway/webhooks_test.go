package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/integration/tidegatetest"
)

type deliveries struct {
	Endpoints []struct {
		URL    string
		Events []string
	}
	Deliveries []struct {
		EventID  string `json:"event_id"`
		BatchID  string `json:"batch_id"`
		URL      string
		Type     string
		State    string
		Attempts int
		Error    string
	}
}

// The end of each batch is delivered once it is accepted: a failed attempt is repeated under
// the same id. No secret is in the configuration, the log or the list.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	receiver := tidegatetest.StartReceiver(t, func(n int, _ tidegatetest.Webhook) int {
		if n == 0 {
			return http.StatusInternalServerError
		}
		return http.StatusNoContent
	})
	g := tidegatetest.Run(t, tidegatetest.Settings{Sims: tidegatetest.StartSims(t, 1), App: receiver.App(), Env: []string{receiver.Env()}})
	completed := g.WaitEnd(t, g.Submit(t, tidegatetest.BatchInput(t, 5, func(int) string { return "hello" })).ID, time.Minute)
	tidegatetest.Eventually(t, time.Minute, "the webhook is delivered", func() bool { return len(receiver.Got()) == 2 })
	got := receiver.Got()
	if got[0].ID != got[1].ID || got[0].Body != got[1].Body || got[0].Type != "batch.completed" || got[0].BatchID != completed.ID {
		t.Errorf("webhooks are %+v, want two attempts at one event", got)
	}
	failed := g.WaitEnd(t, g.Submit(t, []byte("{\"custom_id\": \"a\"}\n")).ID, time.Minute)
	tidegatetest.Eventually(t, time.Minute, "the second webhook is delivered", func() bool { return len(receiver.Got()) == 3 })
	if hook := receiver.Got()[2]; hook.Type != "batch.failed" || hook.BatchID != failed.ID {
		t.Errorf("webhook is %+v, want batch.failed of %s", hook, failed.ID)
	}

	var list deliveries
	tidegatetest.Eventually(t, time.Minute, "both are listed as delivered", func() bool {
		list = deliveries{}
		g.Get(t, "/webhooks?state=delivered", &list)
		return len(list.Deliveries) == 2
	})
	if d := list.Deliveries[1]; d.BatchID != completed.ID || d.Attempts != 2 || d.EventID != got[0].ID || d.URL != receiver.URL+"/hook" || d.Error != "" {
		t.Errorf("delivery is %+v", d)
	}
	if len(list.Endpoints) != 1 || len(list.Endpoints[0].Events) != 4 {
		t.Errorf("endpoints are %+v", list.Endpoints)
	}

	status, answer, err := g.Call(t.Context(), http.MethodPost, "/webhooks/test", "application/json", nil)
	if err != nil || status != http.StatusOK || !strings.Contains(string(answer), `"ok":true`) || receiver.Got()[3].Type != "webhook.test" {
		t.Errorf("test answers %d %s, %v", status, answer, err)
	}

	form := []byte(url.Values{"address": {receiver.URL + "/hook"}}.Encode())
	status, page, err := g.Call(t.Context(), http.MethodPost, "/dashboard/webhooks/test", "application/x-www-form-urlencoded", form)
	if err != nil || status != http.StatusOK || !strings.Contains(string(page), "Answers to the test") || receiver.Got()[4].Type != "webhook.test" {
		t.Errorf("test on the dashboard answers %d %s, %v", status, page, err)
	}

	response, err := http.Get("http://" + g.Admin + "/config/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	config, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.TrimPrefix(tidegatetest.WebhookSecret, "whsec_")
	for name, text := range map[string]string{"configuration": string(config), "log": g.Log(t), "test": string(answer), "page": string(page), "list": fmt.Sprint(list)} {
		if strings.Contains(text, secret) {
			t.Errorf("the %s contains the secret", name)
		}
		if name != "configuration" && strings.Contains(text, "token=hidden") {
			t.Errorf("the %s contains the query", name)
		}
	}
	if !strings.Contains(string(config), tidegatetest.WebhookEnv) {
		t.Error("the configuration has no webhook")
	}
}

// A batch names an address only where the configuration allows it.
func TestWebhookOfMetadata(t *testing.T) {
	t.Parallel()
	receiver := tidegatetest.StartReceiver(t, nil)
	host := strings.TrimPrefix(receiver.URL, "http://")
	sims := tidegatetest.StartSims(t, 1)
	create := func(g *tidegatetest.Gateway, url string) (int, string) {
		input := g.Upload(t, "in.jsonl", tidegatetest.BatchInput(t, 1, func(int) string { return "hello" }))
		body, err := json.Marshal(map[string]any{
			"input_file_id": input.ID, "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": map[string]string{batch.WebhookKey: url},
		})
		if err != nil {
			t.Fatal(err)
		}
		status, answer, err := g.Call(t.Context(), http.MethodPost, "/v1/batches", "application/json", body)
		if err != nil {
			t.Fatal(err)
		}
		return status, string(answer)
	}
	without := tidegatetest.Run(t, tidegatetest.Settings{Sims: sims})
	if status, answer := create(without, receiver.URL); status != http.StatusBadRequest || !strings.Contains(answer, batch.WebhookKey) {
		t.Errorf("without the option: %d %s, want 400", status, answer)
	}
	g := tidegatetest.Run(t, tidegatetest.Settings{
		Sims: sims, Env: []string{receiver.Env()},
		App: "webhook metadata {\nsecret {env." + tidegatetest.WebhookEnv + "}\nhosts " + host + "\nallow_private\n}\n",
	})
	for _, url := range []string{"http://169.254.169.254/latest", "https://evil.example.com", "http://" + host + "@evil.example.com/", "", "\u0000"} {
		if status, answer := create(g, url); status != http.StatusBadRequest || !strings.Contains(answer, batch.WebhookKey) {
			t.Errorf("%q: %d %s, want 400", url, status, answer)
		}
	}
	if status, answer := create(g, receiver.URL+"/job/7"); status != http.StatusOK {
		t.Fatalf("allowed address: %d %s, want 200", status, answer)
	}
	tidegatetest.Eventually(t, time.Minute, "the webhook arrives", func() bool { return len(receiver.Got()) == 1 })
}
