package images

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The scrape configuration of the deployment guide asks services of the compose file,
// at the port that they listen on, and shows a key.
func TestScrapeExample(t *testing.T) {
	text := read(t, "docs/deployment.md")
	_, block, ok := strings.Cut(text, "```yaml\n  scrape_configs:")
	if !ok {
		t.Fatal("there is no scrape configuration")
	}
	block, _, _ = strings.Cut("  scrape_configs:"+block, "```")
	var example struct {
		ScrapeConfigs []struct {
			JobName       string `yaml:"job_name"`
			Authorization struct {
				CredentialsFile string `yaml:"credentials_file"`
			}
			DNS []struct {
				Names []string
				Type  string
				Port  int
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(block), &example); err != nil {
		t.Fatalf("%v:\n%s", err, block)
	}
	if len(example.ScrapeConfigs) != 1 || len(example.ScrapeConfigs[0].DNS) != 1 {
		t.Fatalf("got %+v, want one job with one list of names", example)
	}
	job := example.ScrapeConfigs[0]
	if job.JobName != "tidegate" || job.Authorization.CredentialsFile == "" {
		t.Errorf("the job %q shows the key %q, want one of the job tidegate", job.JobName, job.Authorization.CredentialsFile)
	}
	p := load(t)
	for _, name := range job.DNS[0].Names {
		if _, err := p.GetService(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if want := readImage(t).env["TIDEGATE_LISTEN"]; want != ":8080" || job.DNS[0].Port != 8080 || job.DNS[0].Type != "A" {
		t.Errorf("got %+v, want A records and the port of %s", job.DNS[0], want)
	}
}
