"""Addresses about people. Those of allauth that we want, under the names it expects."""

from __future__ import annotations

from allauth.account import views as allauth
from django.urls import path

from console.accounts.views import account, audit_log, setup, sign_in_link, users

urlpatterns = [
    path("sign-in/", allauth.login, name="account_login"),
    path("sign-in/link/<str:token>/", sign_in_link.sign_in_link, name="sign_in_link"),
    path("sign-out/", allauth.logout, name="account_logout"),
    path("setup/", setup.setup, name="setup"),
    path("account/", account.account, name="account"),
    path("account/password/", account.password, name="account_change_password"),
    path("settings/users/", users.overview, name="users"),
    path("settings/users/add/", users.add, name="add_user"),
    path("settings/users/<int:key>/", users.edit, name="user"),
    path("settings/users/<int:key>/password/", users.password, name="user_password"),
    path("settings/audit-log/", audit_log.audit_log, name="audit_log"),
]
