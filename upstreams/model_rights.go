package upstreams

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/internal/openai"
)

// checkModel returns the error for a request whose client may not use its model. A body
// of a client that is limited to some models must name its model once: of several names
// servers use another one than the gateway checked. So the whole body is needed.
func checkModel(client access.Identity, rt *route, body *payload, contentType, model string) error {
	if len(client.Models) == 0 {
		return nil
	}
	if !client.MayUse(model) {
		return openai.ModelNotAllowed(clip(model))
	}
	if !body.replayable() {
		return openai.TooLarge("", "The body is larger than %d bytes, the limit for keys that may use some models only.", len(body.head))
	}
	var named int
	if rt.form {
		named = countFields(body.head, contentType, "model")
	} else {
		n, ok := openai.CountMembers(body.head, "model")
		if !ok {
			return errNotJSON
		}
		named = n
	}
	if named > 1 {
		return openai.InvalidRequest("model", "invalid_value", "The body names its model %d times.", named)
	}
	return nil
}

// errNotJSON refuses a body that a server may read in another way than the gateway.
var errNotJSON = openai.InvalidRequest("", "", "The body is not a valid JSON object.")

// countFields returns the number of fields with a name in a multipart form. A form that
// cannot be read to its end counts as one with several.
func countFields(head []byte, contentType, name string) (n int) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return 2
	}
	form := multipart.NewReader(bytes.NewReader(head), params["boundary"])
	for {
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			return 2
		}
		switch field := part.FormName(); {
		case strings.EqualFold(field, name):
			n++
		case field == "": // servers may read a name where this one finds none
			return 2
		}
	}
}
