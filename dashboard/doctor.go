package dashboard

import (
	"net/http"
	"strings"

	"github.com/tidegate/tidegate/doctor"
	"github.com/tidegate/tidegate/templates"
)

func (d *Dashboard) doctor(w http.ResponseWriter, r *http.Request) error {
	report, err := d.source.Doctor.Checks(r.Context())
	if err != nil {
		return err
	}
	report = report.For(d.client(r))
	s := d.site(r, "Doctor", "Doctor")
	v := templates.Doctor{At: report.At}
	area := ""
	for _, c := range report.Checks {
		if len(v.Areas) == 0 || area != c.Area {
			v.Areas = append(v.Areas, templates.CheckArea{Name: strings.ToUpper(c.Area[:1]) + c.Area[1:]})
		}
		area = c.Area
		last := &v.Areas[len(v.Areas)-1]
		last.Checks = append(last.Checks, templates.Check{Name: c.Name, Verdict: string(c.Verdict), Found: c.Found, Remedy: c.Remedy})
		switch c.Verdict {
		case doctor.Passed:
			v.Passed++
		case doctor.Doubted:
			v.Doubted++
		case doctor.Failed:
			v.Failed++
		default:
			v.Unknown++
		}
	}
	return d.render(w, r, http.StatusOK, templates.DoctorPage(s, v))
}
