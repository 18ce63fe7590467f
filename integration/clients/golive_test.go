package clients

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/responses"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// asking are the parameters of a chat completion.
func asking(text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:    tidegatetest.Model,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)},
	}
}

func (c goClient) testLive(t *testing.T, sims []*tidegatetest.Sim) {
	t.Run("models", func(t *testing.T) {
		pager := c.Models.ListAutoPaging(t.Context())
		var got []string
		for pager.Next() {
			got = append(got, pager.Current().ID)
		}
		if err := pager.Err(); err != nil || len(got) != 1 || got[0] != tidegatetest.Model {
			t.Errorf("models %q (%v)", got, err)
		}
		_, err := c.Models.Get(t.Context(), "fish")
		wantError(t, err, http.StatusNotFound, "model", "model_not_found")
	})
	t.Run("chat", func(t *testing.T) {
		answer := must[*openai.ChatCompletion](t)(c.Chat.Completions.New(t.Context(), asking("Hello")))
		if !strings.HasPrefix(answer.Choices[0].Message.Content, "sim-") || answer.Usage.CompletionTokens == 0 {
			t.Errorf("answer %s", answer.RawJSON())
		}
	})
	t.Run("chat streamed", func(t *testing.T) {
		params := asking("Stream")
		params.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
		stream := c.Chat.Completions.NewStreaming(t.Context(), params)
		var all openai.ChatCompletionAccumulator
		for stream.Next() {
			if !all.AddChunk(stream.Current()) {
				t.Fatalf("chunk %s does not fit", stream.Current().RawJSON())
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(all.Choices[0].Message.Content, "sim-") || all.Usage.TotalTokens == 0 {
			t.Errorf("stream came to %+v", all.ChatCompletion)
		}
	})
	t.Run("stream abandoned", func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		stream := c.Chat.Completions.NewStreaming(ctx, asking("sim-id:go-abandons [[sim:tokens=100000]]"))
		for range 4 {
			if !stream.Next() {
				t.Fatalf("the stream ended: %v", stream.Err())
			}
		}
		if err := stream.Close(); err != nil {
			t.Errorf("closing the stream: %v", err)
		}
		leave()
		wantAborted(t, sims, "go-abandons")
	})
	t.Run("stream that breaks", func(t *testing.T) {
		stream := c.Chat.Completions.NewStreaming(t.Context(), asking("[[sim:cut-mid]] [[sim:tokens=30]]"))
		for stream.Next() {
		}
		if stream.Err() == nil {
			t.Error("a stream that broke ended without an error")
		}
	})
	t.Run("completions", func(t *testing.T) {
		answer := must[*openai.Completion](t)(c.Completions.New(t.Context(), openai.CompletionNewParams{
			Model: tidegatetest.Model, Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("Once")},
		}))
		if !strings.HasPrefix(answer.Choices[0].Text, "sim-") {
			t.Errorf("answer %s", answer.RawJSON())
		}
	})
	t.Run("embeddings", func(t *testing.T) {
		answer := must[*openai.CreateEmbeddingResponse](t)(c.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
			Model: tidegatetest.Model, Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"one", "two"}},
		}))
		if len(answer.Data) != 2 || len(answer.Data[1].Embedding) != 16 {
			t.Errorf("answer %s", answer.RawJSON())
		}
	})
	t.Run("responses", func(t *testing.T) {
		answer := must[*responses.Response](t)(c.Responses.New(t.Context(), responses.ResponseNewParams{
			Model: tidegatetest.Model, Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("Hello")},
		}))
		if !strings.HasPrefix(answer.OutputText(), "sim-") {
			t.Errorf("answer %s", answer.RawJSON())
		}
	})
	t.Run("errors", func(t *testing.T) {
		params := asking("x")
		params.Model = "fish"
		_, err := c.Chat.Completions.New(t.Context(), params)
		wantError(t, err, http.StatusNotFound, "model", "model_not_found")
	})
}
