package caddymodule

import (
	"cmp"
	"net/http"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// role returns the role of the gateway. A gateway without a handler can only run
// batches. The role is known when all handlers are provisioned.
func (a *App) role() batch.Role {
	if a.Role == "" && !a.hasHandler {
		return batch.RoleWork
	}
	return cmp.Or(a.Role, batch.RoleAll)
}

func (a *App) batchConfig() batch.Config {
	cfg := a.Batch.engine()
	cfg.Role, cfg.Version = a.role(), Version()
	cfg.Prices, _ = a.Cost.prices() // Validate returns the error
	cfg.Weights = a.weights()
	return cfg
}

// readRole parses the option role. Without an argument, as with an empty environment
// variable, the role is the default.
func (a *App) readRole(d *caddyfile.Dispenser) error {
	var role string
	if err := optional(oneOf(&role, string(batch.RoleAll), string(batch.RoleServe), string(batch.RoleWork)))(d); err != nil {
		return err
	}
	if role == "" {
		return nil
	}
	if a.Role != "" {
		return d.Errf("role already specified, by batch off")
	}
	a.Role = batch.Role(role)
	return nil
}

// readBatch parses the option batch: its block, and an optional "off" before it,
// which is short for the role serve.
func (a *App) readBatch(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		if d.Val() != "off" {
			return d.Errf(`batch must be followed by "off" or a block, not %q`, d.Val())
		}
		if a.Role != "" {
			return d.Errf("batch off: role %s already specified", a.Role)
		}
		a.Role = batch.RoleServe
	}
	return a.Batch.unmarshal(d)
}

// refusesByRole refuses client requests to a gateway that only runs batches, and
// reports whether it did.
func (d *door) refusesByRole(w http.ResponseWriter, r *http.Request) bool {
	if d.app.role().Serves() {
		return false
	}
	openai.WriteError(w, r, openai.Unavailable(startingRetry, "This gateway has the role work: it only works on batches. Send requests to a gateway with the role serve or all."))
	return true
}
