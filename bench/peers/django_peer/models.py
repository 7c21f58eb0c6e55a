"""Users and groups as django-scim2 wants them."""

from django.contrib.auth.models import AbstractUser
from django.db import models
from django_scim.models import AbstractSCIMGroupMixin, AbstractSCIMUserMixin


class Group(AbstractSCIMGroupMixin):
    """A group."""

    name = models.CharField(max_length=200, unique=True)


class User(AbstractSCIMUserMixin, AbstractUser):
    """A user."""

    scim_groups = models.ManyToManyField(Group, related_name="user_set", through="Membership")


class Membership(models.Model):
    """Who is in which group."""

    user = models.ForeignKey(User, on_delete=models.CASCADE)
    group = models.ForeignKey(Group, on_delete=models.CASCADE)
