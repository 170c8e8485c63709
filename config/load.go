package config

import (
	_ "embed"
	"io"
	"os"
	"reflect"
	"strings"
)

// maxFileBytes bounds the configuration file.
const maxFileBytes = 1 << 20

// reference is the documented file that holds the defaults.
//
//go:embed quipu.yaml
var reference []byte

// Reference returns the text of the documented default file.
func Reference() []byte { return append([]byte(nil), reference...) }

// Override sets one setting from a flag.
type Override struct {
	Path  string // "ingest.max_body"
	Value string // as in the environment
	Flag  string // "--set", "--listen": for errors and Print
}

// Effective is a configuration and how it came about.
type Effective struct {
	Config
	Origins  map[string]string // where each setting came from, by path
	Warnings []string          // what was ignored
}

// Default returns the configuration without file, environment and flags.
func Default() Config {
	e := Effective{Origins: map[string]string{}}
	if errs := e.readYAML("quipu.yaml of the program", reference); len(errs) > 0 {
		panic(errs) // the embedded file is part of the program, and tested
	}
	return e.Config
}

// Load reads the file (none if path is empty), then the environment in the form of os.Environ, then the overrides, and
// validates the outcome. Its error is an *Error or Errors.
//
// In the environment and in overrides a list is written with commas, or as YAML: [a, b]. An unknown QUIPU_ variable is only
// warned of, since orchestrators add variables named after services.
func Load(path string, environ []string, overrides []Override) (*Effective, error) {
	e := &Effective{Config: Default(), Origins: map[string]string{}}
	all := settings()
	for _, s := range all {
		e.Origins[s.path] = "default"
	}
	var errs Errors
	if path != "" {
		data, err := readFile(path)
		if err != nil {
			return nil, Errors{{Origin: path, Reason: err.Error()}}
		}
		errs = append(errs, e.readYAML(path, data)...)
	}
	errs = append(errs, e.readEnviron(all, environ)...)
	errs = append(errs, e.readOverrides(all, overrides)...)
	if len(errs) == 0 {
		errs = e.problems(e.Origins)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return e, nil
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		if pathErr, ok := err.(*os.PathError); ok {
			return nil, pathErr.Err
		}
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = errTooLong
	}
	return data, err
}

func (e *Effective) readYAML(source string, data []byte) Errors {
	d := &decoder{source: source, lines: true, origins: e.Origins}
	if node := d.parse(data); node != nil {
		d.mapping(reflect.ValueOf(&e.Config).Elem(), node, "")
	}
	return d.errors
}

func (e *Effective) readEnviron(all []setting, environ []string) Errors {
	byName := make(map[string]setting, len(all))
	for _, s := range all {
		byName[s.env()] = s
	}
	var errs Errors
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, envPrefix) || contains(foreignVariables, name) {
			continue
		}
		s, ok := byName[name]
		if !ok {
			e.Warnings = append(e.Warnings, "environment variable "+name+" is no setting and is ignored")
			continue
		}
		errs = append(errs, e.set(s, value, "environment "+name)...)
	}
	return errs
}

// foreignVariables are read by commands themselves.
var foreignVariables = []string{"QUIPU_CONFIG", "QUIPU_TOKEN", "QUIPU_READER"}

func (e *Effective) readOverrides(all []setting, overrides []Override) Errors {
	var errs Errors
	for _, o := range overrides {
		origin := "flag " + o.Flag
		s, ok := find(all, o.Path)
		switch {
		case !ok:
			errs = append(errs, &Error{Origin: origin, Path: o.Path, Reason: "unknown setting" + nearest(o.Path, pathsOf(all))})
		case s.secret():
			errs = append(errs, &Error{Origin: origin, Path: o.Path, Reason: "secrets are not given in flags, which others can see: use " + s.path + "_file, or the environment variable " + s.env()})
		default:
			errs = append(errs, e.set(s, o.Value, origin)...)
		}
	}
	return errs
}

// set gives one setting a value from a text.
func (e *Effective) set(s setting, text, origin string) Errors {
	target := reflect.ValueOf(&e.Config).Elem().FieldByIndex(s.index)
	e.Origins[s.path] = origin
	if target.Kind() != reflect.Slice {
		if err := setText(target, text); err != nil {
			return Errors{{Origin: origin, Path: s.path, Reason: err.Error()}}
		}
		return nil
	}
	if target.Type().Elem().Kind() == reflect.String && !strings.HasPrefix(strings.TrimSpace(text), "[") {
		target.Set(reflect.ValueOf(splitList(text)))
		return nil
	}
	d := &decoder{source: origin, origins: map[string]string{}}
	if node := d.parse([]byte(text)); len(d.errors) == 0 {
		d.sequence(target, node, s.path)
	}
	return d.errors
}

func splitList(text string) []string {
	list := []string{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}
