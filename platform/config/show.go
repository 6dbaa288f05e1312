package config

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// Setting is one variable: what the documentation and `opsdb config` say about it.
type Setting struct {
	Name     string // of the variable
	Default  string
	Doc      string
	Required bool
	Secret   bool
	Value    string // effective, secrets hidden

	field reflect.StructField
}

// Settings returns every variable with its effective value, in the order of the
// struct. Secrets are hidden, passwords inside URLs included.
func (c *Config) Settings() []Setting { return settings(c) }

func settings(c *Config) []Setting {
	var out []Setting
	collect(reflect.ValueOf(c).Elem(), "", "", &out)
	return out
}

func collect(v reflect.Value, prefix, what string, out *[]Setting) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if nested := f.Tag.Get("envPrefix"); nested != "" {
			collect(v.Field(i), nested, f.Tag.Get("doc"), out)
			continue
		}
		doc := f.Tag.Get("doc")
		if strings.Contains(doc, "%s") {
			doc = fmt.Sprintf(doc, what)
		}
		s := Setting{
			Name:     prefix + f.Tag.Get("env"),
			Default:  f.Tag.Get("envDefault"),
			Doc:      doc,
			Required: f.Tag.Get("required") == "true",
			Secret:   f.Tag.Get("secret") == "true",
			field:    f,
		}
		s.Value = shown(v.Field(i).Interface(), s.Secret)
		*out = append(*out, s)
	}
}

func shown(value any, secret bool) string {
	var text string
	switch v := value.(type) {
	case []string:
		text = strings.Join(v, ",")
	case map[string]string:
		var pairs []string
		for key, member := range v {
			pairs = append(pairs, key+":"+member)
		}
		slices.Sort(pairs)
		text = strings.Join(pairs, ",")
	default:
		text = fmt.Sprint(v)
	}
	if secret && text != "" {
		return hidden(text)
	}
	return text
}

const mask = "********"

// hidden shows of a secret only the host and database of a URL, which are what one
// looks for when a connection fails.
func hidden(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Opaque != "") {
		return mask
	}
	kept := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	user := ""
	if u.User != nil {
		user = mask + "@"
		if name := u.User.Username(); name != "" {
			user = url.PathEscape(name) + ":" + mask + "@"
		}
	}
	return strings.Replace(kept.String(), "://", "://"+user, 1)
}

// Markdown returns the table of docs/configuration.md. It depends on nothing but
// the struct.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| variable | default | meaning |\n| --- | --- | --- |\n")
	for _, s := range settings(&Config{}) {
		value := "none"
		switch {
		case s.Required:
			value = "none, required"
		case s.Default != "":
			value = "`" + s.Default + "`"
		}
		doc := strings.ReplaceAll(s.Doc, "|", `\|`)
		if s.Secret {
			doc += " Secret: never printed."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Name, value, doc)
	}
	b.WriteString("\nRefused, since they mean nothing here:\n\n")
	for _, old := range refused {
		fmt.Fprintf(&b, "- `%s`: %s.\n", old.name, old.instead)
	}
	return b.String()
}
