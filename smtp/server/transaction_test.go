package server

import (
	"reflect"
	"testing"

	"pillarbox/smtp"
	"pillarbox/smtp/policy"
)

// A fact of one transaction must not decide on the next.
func TestResetClearsTheTransaction(t *testing.T) {
	var s session
	s.facts.Client = policy.Client{Service: smtp.Submission, Helo: "pc", User: policy.User{Outside: true}}
	client := s.facts.Client
	fill(t, reflect.ValueOf(&s.facts.Transaction).Elem())
	s.env.Size, s.marked, s.logged, s.vouched = 1, "zen.example", "listed", smtp.StandingLogin
	s.Reset()
	if !reflect.ValueOf(s.facts.Transaction).IsZero() || !reflect.ValueOf(s.transaction).IsZero() {
		t.Errorf("left over: %+v, %+v", s.facts.Transaction, s.transaction)
	}
	if !reflect.DeepEqual(s.facts.Client, client) {
		t.Errorf("the client is %+v, want %+v", s.facts.Client, client)
	}
}

// fill sets every field below v to a value that is not zero.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.String:
		v.SetString("x")
	default:
		t.Fatalf("fill has no value for %s", v.Type())
	}
	if v.IsZero() {
		t.Fatalf("%s is still zero", v.Type())
	}
}
