package httpapi

import "testing"

func TestParseDisposition(t *testing.T) {
	file := func(name string) disposition { return disposition{"file", name, true} }
	for name, c := range map[string]struct {
		header string
		want   disposition
	}{
		"quoted":                  {`form-data; name="file"; filename="my file.jsonl"`, file("my file.jsonl")},
		"a field":                 {`form-data; name="file"`, disposition{name: "file"}},
		"an empty file name":      {`form-data; name="file"; filename=""`, file("")},
		"unquoted":                {`form-data; name=file; filename=in.jsonl`, file("in.jsonl")},
		"unquoted, spaces":        {`form-data; name="file"; filename=my own file.jsonl`, file("my own file.jsonl")},
		"unquoted, then another":  {`form-data; filename=my file.jsonl ; name="file"`, file("my file.jsonl")},
		"unquoted, UTF-8":         {`form-data; name=file; filename=übung 1.jsonl`, file("übung 1.jsonl")},
		"unquoted, brackets":      {`form-data; name=file; filename=in (1).jsonl`, file("in (1).jsonl")},
		"quoted, UTF-8":           {`form-data; name="file"; filename="übung.jsonl"`, file("übung.jsonl")},
		"quoted, semicolon":       {`form-data; name="file"; filename="a;b=c.jsonl"`, file("a;b=c.jsonl")},
		"quoted, then unquoted":   {`form-data; name="a;file=x" ; filename=my file.jsonl`, disposition{"a;file=x", "my file.jsonl", true}},
		"escaped quote":           {`form-data; name="file"; filename="a\"b.jsonl"`, file(`a"b.jsonl`)},
		"backslashes":             {`form-data; name=the file; filename="C:\dir\in.jsonl"`, disposition{"the file", `C:\dir\in.jsonl`, true}},
		"filename*":               {`form-data; name="file"; filename*=UTF-8''na%C3%AFve%20a.jsonl`, file("naïve a.jsonl")},
		"filename* beside a name": {`form-data; name="file"; filename="naive.jsonl"; filename*=utf-8'en'na%C3%AFve.jsonl`, file("naïve.jsonl")},
		"filename*, loose name":   {`form-data; name="file"; filename=na ive.jsonl; filename*=utf-8''na%C3%AFve.jsonl`, file("naïve.jsonl")},
		"filename* in Latin-1":    {`form-data; name="file"; filename*=ISO-8859-1''na%EFve.jsonl`, file("naïve.jsonl")},
		"filename* in another":    {`form-data; name="file"; filename=a b.jsonl; filename*=KOI8-R''x.jsonl`, file("a b.jsonl")},
		"encoded word":            {`form-data; name="file"; filename="=?UTF-8?B?w7xidW5nLmpzb25s?="`, file("übung.jsonl")},
		"capitals":                {`Form-Data; Name="file"; FileName=my file.jsonl`, file("my file.jsonl")},
		"no value":                {`form-data; x; name="file"; filename=a b.jsonl;`, file("a b.jsonl")},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parseDisposition(c.header); err != nil || got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
	for _, header := range []string{"", `attachment; name="file"`, `form-data; name="file`, `form-data; name=a; name=b`, `form-data; name=file; filename="a b`} {
		if got, err := parseDisposition(header); err == nil {
			t.Errorf("%s: got %+v, want an error", header, got)
		}
	}
}

func FuzzParseDisposition(f *testing.F) {
	f.Add(`form-data; name="file"; filename=my file.jsonl`)
	f.Add(`form-data; name="a\"b"; filename*=UTF-8''%C3%AF`)
	f.Add(`form-data; ;=;"`)
	f.Fuzz(func(t *testing.T, header string) {
		d, err := parseDisposition(header)
		if err != nil && d != (disposition{}) {
			t.Errorf("got %+v with error %v, want an empty result", d, err)
		}
	})
}
