package caddymodule

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/upstreams"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("tidegate", parseGlobal)
	httpcaddyfile.RegisterDirective("tidegate", parseSite)
	httpcaddyfile.RegisterHandlerDirective("tidegate_api", parseHandler(func() caddyhttp.MiddlewareHandler { return new(APIHandler) }))
	httpcaddyfile.RegisterHandlerDirective("tidegate_dashboard", parseDashboard)
	httpcaddyfile.RegisterHandlerDirective("tidegate_proxy", parseHandler(func() caddyhttp.MiddlewareHandler { return new(ProxyHandler) }))
	httpcaddyfile.RegisterDirectiveOrder("tidegate_api", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterDirectiveOrder("tidegate_dashboard", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterDirectiveOrder("tidegate_proxy", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterDirectiveOrder("tidegate", httpcaddyfile.Before, "reverse_proxy")
}

// parseGlobal parses the global option. See App.UnmarshalCaddyfile.
func parseGlobal(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Err("tidegate already specified")
	}
	if names := emptyVariables(); len(names) > 0 {
		return nil, d.Errf("%s set to nothing: remove it from the file that --envfile names, or give it a value", strings.Join(names, ", "))
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "tidegate", Value: caddyconfig.JSON(app, nil)}, nil
}

// handlers are the handlers of a site, in their order.
var handlers = []string{"tidegate_api", "tidegate_dashboard", "tidegate_proxy"}

// parseSite parses the directive of a site, a shortcut for its handlers:
//
//	tidegate [<matcher>]
func parseSite(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // the directive's name: a matcher follows it
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, h.WrapErr(err)
	}
	h.Next() // ExtractMatcherSet has gone back to the start
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	for nesting := h.Nesting(); h.NextBlock(nesting); {
		return nil, h.Errf("unrecognized option %q: tidegate is configured in the global options", h.Val())
	}
	var route caddyhttp.Route
	if matcher != nil {
		route.MatcherSetsRaw = []caddy.ModuleMap{matcher}
	}
	for _, handler := range handlers {
		route.HandlersRaw = append(route.HandlersRaw, caddyconfig.JSON(map[string]string{"handler": handler}, nil))
	}
	return []httpcaddyfile.ConfigValue{{Class: "route", Value: route}}, nil
}

// parseHandler parses a handler without options.
func parseHandler(handler func() caddyhttp.MiddlewareHandler) httpcaddyfile.UnmarshalHandlerFunc {
	return func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		if h.NextArg() {
			return nil, h.ArgErr()
		}
		for nesting := h.Nesting(); h.NextBlock(nesting); {
			return nil, h.Errf("unrecognized option %q", h.Val())
		}
		return handler(), nil
	}
}

// parseDashboard parses the handler of the dashboard:
//
//	tidegate_dashboard [<matcher>] {
//		path            <path>
//		name            <name>
//		trusted_origins <origin...>
//	}
func parseDashboard(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(DashboardHandler)
	h.Next()
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	return handler, block(h.Dispenser, handler.options())
}

// options returns the options of the handler.
func (h *DashboardHandler) options() map[string]option {
	return map[string]option{
		"path": parsed(&h.Path, "a path below the root such as /dashboard", func(s string) (string, error) {
			base := strings.TrimSuffix(s, "/")
			if base == "" {
				return "", errDashboardRoot
			}
			return s, dashboard.CheckBase(base)
		}),
		"name": parsed(&h.Name, "a name of 1 to 100 characters in one line", func(s string) (string, error) {
			if s == "" {
				return "", errName
			}
			return s, checkName(s)
		}),
		"trusted_origins": func(d *caddyfile.Dispenser) error {
			if h.TrustedOrigins = d.RemainingArgs(); len(h.TrustedOrigins) == 0 {
				return d.ArgErr()
			}
			for _, origin := range h.TrustedOrigins {
				if !isOrigin(origin) {
					return d.Errf("trusted_origins must be origins such as https://ops.example.com, not %q", origin)
				}
			}
			return nil
		},
	}
}

// UnmarshalCaddyfile sets up the app:
//
//	tidegate {
//		pool {
//			upstream <url...> [{
//				weight       <number>
//				max_num_seqs [<count>]
//				scheduling_policy [fcfs|priority]
//				scale_to_zero
//				api_key      [<key>]
//				tls_ca                   [<file...>]
//				tls_client_auth          <cert_file> <key_file>
//				tls_server_name          <name>
//				tls_insecure_skip_verify
//			}]
//			balancer        <name> ...
//			api_key         [<key>]
//			batch_share     <number>
//			batch_price     <number>|off
//			batch_budget    <number>%|<duration>
//			health_interval <duration>
//			health_timeout  <duration>
//			models_interval <duration>
//			retry_buffer    <size>
//			body_memory     <size>
//			queue_size      <count>|off
//			queue_timeout   <duration>
//			max_answer      <size>
//			dial_timeout    <duration>
//			health_failures <count>
//			health_fails    <count>
//			load_time       <duration>
//			idle_timeout    <duration>
//			stream_idle_timeout <duration>
//			guardrail [<url>] {
//				timeout <duration>
//				fail    closed|open
//				classes live|batch...
//				key     [<key>]
//			}
//		}
//		store <driver> ...
//		queue <driver> ...
//		files <driver> ...
//		data  <directory>
//		api_keys <key...>
//		key <name> {
//			secret      <placeholder>
//			secret_file <file>
//			tenant      <name>
//			scopes      <scope...>
//			models      <model...>
//			expires     <date>
//			limits {
//				requests_per_minute <count>
//				tokens_per_minute   <count>
//				requests_in_flight  <count>
//				lines_queued        <count>
//				tokens_queued       <count>
//				batches_per_hour    <count>
//				tokens_per_month    <count>
//				cost_per_month      <amount>
//			}
//		}
//		tenant <name> {
//			weight <number>
//			limits {
//				requests_per_minute <count>
//				tokens_per_minute   <count>
//				requests_in_flight  <count>
//				lines_queued        <count>
//				tokens_queued       <count>
//				batches_per_hour    <count>
//				tokens_per_month    <count>
//				cost_per_month      <amount>
//				max_stored_size     <size>
//				max_files           <count>
//				max_open_uploads    <count>
//			}
//		}
//		identity {
//			user    <placeholder>
//			role    <scope> <user...>
//			default <scope...>
//			tenant  <name>|<placeholder> [<user...>]
//		}
//		auth  [off]
//		hosts [<name...>]
//		cors  [<origin...>|*]
//		metrics [off|public|keys <key...>]
//		body {
//			min_rate <size>
//			grace    <duration>
//		}
//		webhook <url>|metadata {
//			secret <placeholder...>
//			tenant <name...>
//			events <type...>
//			hosts  <host...>
//			allow_private
//		}
//		cost {
//			currency       <name>
//			batch_discount <part>
//			model          <name>|* input <price> [cached_input <price>] [output <price>]
//		}
//		role  [all|serve|work]
//		batch [off] {
//			max_in_flight          <count>|auto
//			hours                  [<days>] <range> <share>|full|none
//			else                   <share>|full|none
//			hours_zone             <name>
//			max_concurrent_batches <count>
//			max_requests           <count>
//			max_file_size          <size>
//			max_upload_size        <size>
//			max_part_size          <size>
//			max_stored_size        <size>
//			max_files              <count>
//			max_open_uploads       <count>
//			max_total_stored_size  <size>
//			max_total_files        <count>
//			max_total_open_uploads <count>
//			max_upload_parts       <count>
//			max_decompressed_size  <size>
//			max_line_size          <size>
//			memory                 <size>
//			retries                <count>
//			stop_after             <count>|off
//			retry_backoff          <first> <last>
//			line_timeout           <duration>
//			lease                  <duration>
//			drain_timeout          <duration>
//			collect_interval       <duration>
//			quarantine             <duration>
//			upload_ttl             <duration>
//			input_ttl              <duration>
//			output_ttl             <duration>
//		}
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	if err := block(d, a.options(), "key", "tenant", "webhook"); err != nil {
		return err
	}
	if a.Identity != nil && a.AuthOff {
		return d.WrapErr(errIdentityAuthOff)
	}
	return nil
}

// options returns the options of the global option.
func (a *App) options() map[string]option {
	return map[string]option{
		"pool":  func(d *caddyfile.Dispenser) error { return a.Pool.unmarshal(d) },
		"store": func(d *caddyfile.Dispenser) (err error) { a.StoreRaw, err = guest(d, "tidegate.stores."); return err },
		"queue": func(d *caddyfile.Dispenser) (err error) { a.QueueRaw, err = guest(d, "tidegate.queues."); return err },
		"files": func(d *caddyfile.Dispenser) (err error) { a.FilesRaw, err = guest(d, "tidegate.files."); return err },
		"data":  text(&a.Data),
		"auth": func(d *caddyfile.Dispenser) error {
			var value string
			if err := optionalText(&value)(d); err != nil {
				return err
			}
			if a.AuthOff = value == "off"; value != "" && !a.AuthOff {
				return d.Errf(`auth must be "off", not %q`, value)
			}
			return nil // none: the environment variable is empty
		},
		"hosts": names(&a.Hosts),
		"cors":  origins(&a.CORS),
		"api_keys": func(d *caddyfile.Dispenser) error {
			a.APIKeys = d.RemainingArgs()
			if slices.ContainsFunc(a.APIKeys, func(key string) bool { return len(splitKeys(key)) == 0 }) {
				return d.Err("api_keys: a key is empty")
			}
			return nil // none: the environment variable is empty
		},
		"key":    a.readKey,
		"tenant": a.readTenant,
		"identity": func(d *caddyfile.Dispenser) error {
			a.Identity = new(IdentityConfig)
			return a.Identity.unmarshal(d)
		},
		"metrics": func(d *caddyfile.Dispenser) error { return a.Metrics.unmarshal(d) },
		"webhook": a.readWebhook,
		"cost":    func(d *caddyfile.Dispenser) error { return a.Cost.unmarshal(d) },
		"role":    a.readRole,
		"batch":   a.readBatch,
		"body":    func(d *caddyfile.Dispenser) error { return a.Body.unmarshal(d) },
	}
}

func (p *PoolConfig) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	if err := block(d, p.options(), "upstream"); err != nil {
		return err
	}
	if p.BatchPrice < 0 && p.BatchBudget != (BudgetConfig{}) {
		return d.Err("batch_budget: batch_price is off, so that the price is not measured")
	}
	return nil
}

func (p *PoolConfig) options() map[string]option {
	return map[string]option{
		"upstream": p.upstream, "balancer": balancer(&p.BalancerRaw), "api_key": optionalText(&p.APIKey), "batch_share": number(&p.BatchShare, 1),
		"guardrail":   p.Guardrail.unmarshal,
		"batch_price": batchPrice(&p.BatchPrice), "batch_budget": budget(&p.BatchBudget),
		"health_interval": span(&p.HealthInterval), "health_timeout": span(&p.HealthTimeout), "models_interval": span(&p.ModelsInterval),
		"retry_buffer": size(&p.RetryBuffer), "body_memory": size(&p.BodyMemory), "max_answer": size(&p.MaxAnswer),
		"queue_size": countOr(&p.QueueSize, 1_000_000, "off", upstreams.NoQueue), "queue_timeout": span(&p.QueueTimeout), "dial_timeout": span(&p.DialTimeout),
		"health_failures": healthFailures(&p.HealthFailures), "health_fails": healthFailures(&p.HealthFailures), "load_time": span(&p.LoadTime), "idle_timeout": span(&p.IdleTimeout), "stream_idle_timeout": span(&p.StreamIdleTimeout),
	}
}

func (p *PoolConfig) upstream(d *caddyfile.Dispenser) error {
	known := len(p.Upstreams)
	var at []caddyfile.Dispenser // of each URL, for errors
	for more := d.CountRemainingArgs(); d.NextArg(); more-- {
		for _, url := range listed(d.Val(), more == 1 && len(at) == 0) {
			p.Upstreams = append(p.Upstreams, UpstreamConfig{URL: url})
			at = append(at, *d)
		}
	}
	if len(at) == 0 {
		return d.ArgErr()
	}
	var u UpstreamConfig
	if err := block(d, u.options()); err != nil {
		return err
	}
	var all upstreams.Config
	for i := range p.Upstreams {
		if i >= known {
			u.URL = p.Upstreams[i].URL
			p.Upstreams[i] = u
		}
		one := p.Upstreams[i].config()
		one.APIKey = "" // it may still be a placeholder
		all.Upstreams = append(all.Upstreams, one)
		if i < known {
			continue
		}
		if err := all.Validate(); err != nil {
			return at[i-known].WrapErr(err)
		}
	}
	return nil
}

func (u *UpstreamConfig) options() map[string]option {
	return map[string]option{
		"weight": number(&u.Weight, upstreams.MaxWeight), "max_num_seqs": optional(countFrom(&u.MaxNumSeqs, 1, upstreams.MaxNumSeqs)), "api_key": optionalText(&u.APIKey),
		"scheduling_policy": optional(oneOf(&u.SchedulingPolicy, upstreams.SchedulingFCFS, upstreams.SchedulingPriority)),
		"scale_to_zero": func(d *caddyfile.Dispenser) error {
			if d.NextArg() {
				return d.ArgErr()
			}
			u.ScaleToZero = true
			return nil
		},
		"tls_ca": func(d *caddyfile.Dispenser) error {
			u.TLS.RootCAPEMFiles = d.RemainingArgs()
			return nil // none: the environment variable is empty
		},
		"tls_client_auth": func(d *caddyfile.Dispenser) error {
			if !d.Args(&u.TLS.ClientCertificateFile, &u.TLS.ClientCertificateKeyFile) || d.NextArg() {
				return d.ArgErr()
			}
			return nil
		},
		"tls_server_name": text(&u.TLS.ServerName),
		"tls_insecure_skip_verify": func(d *caddyfile.Dispenser) error {
			if d.NextArg() {
				return d.ArgErr()
			}
			u.TLS.InsecureSkipVerify = true
			return nil
		},
	}
}

func (b *BatchConfig) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	if err := block(d, b.options(), "hours"); err != nil {
		return err
	}
	if err := b.hours().Validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (b *BatchConfig) options() map[string]option {
	return map[string]option{
		"hours": hours(&b.Hours), "else": share(&b.HoursElse), "hours_zone": zone(&b.HoursZone),
		"max_in_flight": countOr(&b.MaxInFlight, 1_000_000, "auto", 0), "max_concurrent_batches": countFrom(&b.MaxConcurrentBatches, 1, 1_000_000), "max_requests": count(&b.MaxRequests),
		"max_file_size": size(&b.MaxFileSize), "max_upload_size": size(&b.MaxUploadSize), "max_part_size": size(&b.MaxPartSize),
		"max_stored_size": size(&b.MaxStoredSize), "max_files": count(&b.MaxFiles),
		"max_total_stored_size": size(&b.MaxTotalStoredSize), "max_total_files": count(&b.MaxTotalFiles), "max_total_open_uploads": count(&b.MaxTotalOpenUploads),
		"max_open_uploads": count(&b.MaxOpenUploads), "max_upload_parts": count(&b.MaxUploadParts),
		"max_decompressed_size": size(&b.MaxDecompressedSize), "max_line_size": size(&b.MaxLineSize), "memory": size(&b.Memory), "retries": countFrom(&b.Retries, 1, 1000),
		"stop_after":    countOr(&b.StopAfter, mostCount, "off", batch.NoStop),
		"retry_backoff": spans(&b.RetryBackoffMin, &b.RetryBackoffMax),
		"line_timeout":  span(&b.LineTimeout), "lease": span(&b.Lease), "drain_timeout": span(&b.DrainTimeout),
		"collect_interval": span(&b.CollectInterval), "quarantine": ttl(&b.Quarantine), "upload_ttl": ttl(&b.UploadTTL), "input_ttl": ttl(&b.InputTTL), "output_ttl": ttl(&b.OutputTTL),
	}
}

// healthFailures parses health_failures. health_fails, the word that Caddy's
// reverse_proxy has for it, is an alias.
func healthFailures(to *int) option {
	read := countFrom(to, 1, 1000)
	return func(d *caddyfile.Dispenser) error {
		if *to != 0 {
			return d.Errf("%s: health_failures and health_fails are the same option, already specified", d.Val())
		}
		return read(d)
	}
}
