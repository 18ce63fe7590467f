package clients

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// startSim serves on a loopback address until the test ends, and returns its URL.
func startSim(t *testing.T, cfg vllmsim.Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- vllmsim.Serve(ctx, ln, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("vllmsim.Serve() = %v, want nil", err)
		}
	})
	return "http://" + ln.Addr().String()
}

// OpenAI's Go client understands the answers of the simulated server itself.
func TestSimulatedServer(t *testing.T) {
	url := startSim(t, vllmsim.Config{APIKey: "key"})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("key"), option.WithMaxRetries(0), option.WithHTTPClient(&http.Client{Transport: transport}))
	ctx := t.Context()

	chat := openai.ChatCompletionNewParams{Model: "sim", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("What is a neap tide?")}}
	answer, err := client.Chat.Completions.New(ctx, chat)
	if err != nil {
		t.Fatal(err)
	}
	if content := answer.Choices[0].Message.Content; !strings.Contains(content, " What is a neap tide?") || answer.Usage.CompletionTokens != int64(len(strings.Fields(content))) {
		t.Errorf("chat %+v", answer)
	}

	chat.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := client.Chat.Completions.NewStreaming(ctx, chat)
	var all openai.ChatCompletionAccumulator
	for stream.Next() {
		if !all.AddChunk(stream.Current()) {
			t.Fatalf("chunk %s does not fit", stream.Current().RawJSON())
		}
	}
	if err := stream.Err(); err != nil || all.Usage.TotalTokens == 0 || len(all.Choices) != 1 || all.Choices[0].FinishReason != "stop" {
		t.Errorf("streamed chat: %v, %+v", err, all.ChatCompletion)
	}

	vectors, err := client.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: "sim", Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a", "b"}}})
	if err != nil || len(vectors.Data) != 2 || len(vectors.Data[1].Embedding) != 16 || cmp.Equal(vectors.Data[0].Embedding, vectors.Data[1].Embedding) {
		t.Errorf("embeddings: %v, %+v", err, vectors)
	}

	told := client.Responses.NewStreaming(ctx, responses.ResponseNewParams{Model: "sim", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("tell me")}})
	text, done := "", ""
	for told.Next() {
		switch event := told.Current().AsAny().(type) {
		case responses.ResponseTextDeltaEvent:
			text += event.Delta
		case responses.ResponseCompletedEvent:
			done = event.Response.OutputText()
		}
	}
	if err := told.Err(); err != nil || text == "" || text != done {
		t.Errorf("response: %v, deltas %q, text %q", err, text, done)
	}

	models, err := client.Models.List(ctx)
	if err != nil || len(models.Data) != 1 || models.Data[0].ID != "sim" {
		t.Errorf("models: %v, %+v", err, models)
	}
	if moderation, err := client.Moderations.New(ctx, openai.ModerationNewParams{Model: "sim", Input: openai.ModerationNewParamsInputUnion{OfString: openai.String("x")}}); err != nil || len(moderation.Results) != 1 {
		t.Errorf("moderation: %v, %+v", err, moderation)
	}
}
