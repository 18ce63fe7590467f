package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/upstreams"
)

// logClient adds the id and the tenant of a request's key to its entry in the access log.
func logClient(r *http.Request, id access.Identity) {
	fields, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	if !ok || id.KeyID == "" {
		return
	}
	fields.Add(zap.String("tidegate.key", id.KeyID))
	fields.Add(zap.String("tidegate.tenant", id.Tenant))
}

// logLive adds the known fields of a live request to its entry in the access log. The
// model is logged only if a server has it, so that clients cannot inject names.
func logLive(fields *caddyhttp.ExtraLogFields, l *upstreams.LiveRequest) {
	if l.Model != "" {
		fields.Add(zap.String("tidegate.model", l.Model))
	}
	class := upstreams.Live.String()
	if l.Class == upstreams.Batch {
		class = "flex"
	}
	fields.Add(zap.String("tidegate.class", class))
	if l.Upstream != "" {
		fields.Add(zap.String("tidegate.upstream", l.Upstream))
	}
	if l.Retries > 0 {
		fields.Add(zap.Int("tidegate.retries", l.Retries))
	}
	if l.Queued > 0 {
		fields.Add(zap.Duration("queued", l.Queued))
	}
	if l.TTFT > 0 {
		fields.Add(zap.Duration("tidegate.ttft", l.TTFT))
	}
	if l.ITL > 0 {
		fields.Add(zap.Duration("tidegate.itl", l.ITL))
	}
	if l.HasUsage {
		fields.Add(zap.Int64("tidegate.input_tokens", l.Usage.InputTokens))
		fields.Add(zap.Int64("tidegate.cached_input_tokens", l.Usage.InputTokensDetails.CachedTokens))
		fields.Add(zap.Int64("tidegate.output_tokens", l.Usage.OutputTokens))
		if l.Estimated {
			fields.Add(zap.Bool("tidegate.usage_estimated", true))
		}
	}
}
