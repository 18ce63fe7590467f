package vllmsim

// endpoint is a path that runs the model.
type endpoint struct {
	needs            []need
	generates        bool // answers are text
	severalChoices   bool // n is obeyed
	choicePerInput   bool // several prompts give several choices
	defaultMaxTokens int  // 0: none
	anthropic        bool // refusals have Anthropic's shape
	opaque           bool // the body is not JSON
	tools            bool // tools may be called
	body             func(dst []byte, a *answer) []byte
	events           *events // nil: never streams
}

// need is a required member; several are alternatives.
type need struct {
	any  field
	name string
}

// events are the parts of a stream: head goes out with the first token, tail
// with or after the last.
type events struct {
	head  func(dst []byte, a *answer) []byte
	token func(dst []byte, a *answer, i int) []byte
	tail  func(dst []byte, a *answer) []byte
}

var (
	needInput = []need{{hasInput | hasMessages, "input"}}

	rerank = &endpoint{needs: []need{{hasQuery, "query"}, {hasDocuments, "documents"}}, body: appendRerank}
	score  = &endpoint{needs: []need{{hasText1, "text_1"}, {hasText2, "text_2"}}, body: appendScore}
	audio  = &endpoint{opaque: true, generates: true, body: appendTranscription}
)

// endpoints are those of vLLM's API server and, for the sake of OpenAI's batch
// endpoints, /v1/moderations, which vLLM has not.
var endpoints = map[string]*endpoint{
	"/v1/chat/completions": {
		needs: []need{{hasMessages, "messages"}}, generates: true, severalChoices: true, tools: true,
		body:   appendChat,
		events: &events{appendChatHead, appendChatToken, appendChatTail},
	},
	"/v1/completions": {
		needs: []need{{hasPrompt, "prompt"}}, generates: true, severalChoices: true, choicePerInput: true,
		defaultMaxTokens: completionsMax,
		body:             appendCompletion,
		events:           &events{appendCompletionHead, appendCompletionToken, appendCompletionTail},
	},
	"/v1/responses": {
		needs: []need{{hasInput, "input"}}, generates: true,
		body:   appendResponse,
		events: &events{appendResponseHead, appendResponseToken, appendResponseTail},
	},
	"/v1/messages": {
		needs: []need{{hasMessages, "messages"}, {hasMaxTokens, "max_tokens"}}, generates: true, anthropic: true,
		body:   appendMessage,
		events: &events{appendMessageHead, appendMessageToken, appendMessageTail},
	},
	"/v1/embeddings":           {needs: needInput, body: appendEmbeddings},
	"/v1/pooling":              {needs: needInput, body: appendPooling},
	"/pooling":                 {needs: needInput, body: appendPooling},
	"/v1/classify":             {needs: needInput, body: appendClassify},
	"/classify":                {needs: needInput, body: appendClassify},
	"/v1/moderations":          {needs: needInput, body: appendModeration},
	"/v1/rerank":               rerank,
	"/v2/rerank":               rerank,
	"/rerank":                  rerank,
	"/v1/score":                score,
	"/score":                   score,
	"/v1/audio/transcriptions": audio,
	"/v1/audio/translations":   audio,
}

// check refuses a request without a required member, or with invalid values.
func (ep *endpoint) check(r *request) error {
	for _, n := range ep.needs {
		if r.has&n.any == 0 {
			return missingField(n.name)
		}
	}
	if err := checkSampling(r); err != nil {
		return err
	}
	if ep.tools {
		return r.chooseTool()
	}
	return nil
}

// appendRefusal writes a refusal in the endpoint's shape.
func (ep *endpoint) appendRefusal(dst []byte, r *Refusal) []byte {
	if ep.anthropic {
		return r.appendAnthropic(dst)
	}
	return r.appendBody(dst)
}
