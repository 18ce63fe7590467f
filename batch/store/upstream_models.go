package store

// UpstreamModels are the models that an upstream listed.
type UpstreamModels struct{ Upstream, Models string }

// ScanUpstreamModels scans upstream and models.
func ScanUpstreamModels(r Row) (told UpstreamModels, err error) {
	err = r.Scan(&told.Upstream, &told.Models)
	return told, err
}

// ByUpstream returns the models by upstream.
func ByUpstream(told []UpstreamModels) map[string]string {
	models := make(map[string]string, len(told))
	for _, t := range told {
		models[t.Upstream] = t.Models
	}
	return models
}
