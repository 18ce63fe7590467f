package upstreams

import "strings"

// modelParam is the parameter that an error about the model names.
const modelParam = "model"

// isModelGone reports whether the body of a 404 says that the server does not have model, the
// one that the request was sent for. The answer counts for all clients, so words of the request
// that a server repeats must not decide it. vLLM repeats them in errors about other things
// ("Response with id 'resp_model' not found.", with the parameter response_id), and of a body
// that names two models it may have looked for the other one.
//
// vLLM's message is "The model `m` does not exist.", in newer versions followed by its models,
// with the parameter model or none.
func isModelGone(body []byte, model string) bool {
	e, ok := readError(body)
	if !ok || e.param != "" && e.param != modelParam {
		return false
	}
	rest, ok := afterModel(e.message)
	if !ok { // only what the server itself names can be about the model
		return e.code == "model_not_found" || e.param == modelParam
	}
	return saysGone(afterName(rest, model), model)
}

// afterModel returns the remainder of a message that begins with the word model.
func afterModel(message string) (rest string, ok bool) {
	rest, ok = cutFold(strings.TrimSpace(message), "unknown model")
	if ok {
		return rest + " unknown", true
	}
	rest, _ = cutFold(strings.TrimSpace(message), "the ")
	if rest, ok = cutFold(rest, "model"); !ok {
		return "", false
	}
	for _, word := range [...]string{" with name ", " with id ", " named "} {
		if after, ok := cutFold(rest, word); ok {
			return " " + after, true
		}
	}
	return rest, rest == "" || strings.ContainsRune(" :`'\"", rune(rest[0]))
}

// afterName returns the remainder of a message after the model's name, if that is there.
func afterName(rest, model string) string {
	rest = strings.TrimLeft(rest, " :")
	if rest == "" {
		return ""
	}
	if mark := rest[:1]; strings.Contains("`'\"", mark) {
		if name, after, ok := strings.Cut(rest[1:], mark); ok && sameModel(name, model) {
			return after
		}
		return ""
	}
	if after, ok := strings.CutPrefix(rest, model+" "); ok {
		return after
	}
	return rest
}

// hiddenPath replaces paths in vLLM's messages (sanitize_message of
// vllm/entrypoints/serve/exception_handling/utils.py). The name of a model may be a path.
const hiddenPath = "<path>"

// sameModel reports whether a name in a message is that of the model.
func sameModel(name, model string) bool {
	before, after, hidden := strings.Cut(name, hiddenPath)
	if !hidden {
		return name == model
	}
	path, ok := strings.CutPrefix(model, before)
	return ok && strings.HasPrefix(path, "/") && strings.HasSuffix(path, after)
}

// saysGone reports whether the predicate of a message says that its subject is not there, and
// names no other model after a colon.
func saysGone(text, model string) bool {
	for {
		text = strings.TrimLeft(text, " ,:")
		word, rest, more := strings.Cut(text, " ")
		switch strings.ToLower(word) {
		case "is", "was", "does", "has", "been", "be", "could", "can", "currently", "id", "name":
			if more {
				text = rest
				continue
			}
		}
		break
	}
	for _, words := range [...]string{"not exist", "doesn't exist", "not found", "not be found", "cannot be found", "unknown", "not loaded", "not currently loaded", "not served"} {
		if after, ok := cutFold(text, words); ok {
			name, named := strings.CutPrefix(after, ":")
			return !named || beginsWithName(strings.TrimLeft(name, " `'\""), model)
		}
	}
	return false
}

// beginsWithName reports whether a text begins with the model's name, and not with a longer one.
func beginsWithName(text, model string) bool {
	after, ok := strings.CutPrefix(text, model)
	return ok && (after == "" || strings.ContainsRune(" `'\".,;", rune(after[0])))
}

// cutFold is strings.CutPrefix for any case of ASCII letters.
func cutFold(s, prefix string) (after string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
