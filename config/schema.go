package config

import (
	"reflect"
	"strings"
	"time"
)

// envPrefix begins the name of every environment variable that is a setting.
const envPrefix = "QUIPU_"

// setting is a leaf of Config: something with a value of its own.
type setting struct {
	path  string // "ingest.max_body"
	field reflect.StructField
	index []int
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[Size]()
	secretType   = reflect.TypeFor[Secret]()
)

// settings lists every leaf in the order of the structs.
func settings() []setting { return appendSettings(nil, reflect.TypeFor[Config](), "", nil) }

func appendSettings(list []setting, t reflect.Type, prefix string, index []int) []setting {
	for field := range t.Fields() {
		path := join(prefix, keyOf(field))
		at := append(append([]int(nil), index...), field.Index...)
		if field.Type.Kind() == reflect.Struct {
			list = appendSettings(list, field.Type, path, at)
			continue
		}
		list = append(list, setting{path: path, field: field, index: at})
	}
	return list
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

func keyOf(field reflect.StructField) string { return field.Tag.Get("yaml") }

// env returns the name of the environment variable of a setting.
func (s setting) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.path, ".", "_"))
}

func (s setting) secret() bool { return s.field.Type == secretType }

// find returns the setting of a path.
func find(all []setting, path string) (setting, bool) {
	for _, s := range all {
		if s.path == path {
			return s, true
		}
	}
	return setting{}, false
}

func pathsOf(all []setting) []string {
	paths := make([]string, len(all))
	for i, s := range all {
		paths[i] = s.path
	}
	return paths
}
