"""Products, and orders of them."""

from django.db import models


class Product(models.Model):
    name = models.CharField(max_length=100, unique=True)
    stock = models.IntegerField(default=0)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    details = models.JSONField(default=dict)
    picture = models.BinaryField(default=b"")
    changed = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.CheckConstraint(check=models.Q(stock__gte=0), name="stock_not_negative")]


class Order(models.Model):
    product = models.ForeignKey(Product, on_delete=models.CASCADE, related_name="orders")
    amount = models.PositiveIntegerField()
    placed = models.DateTimeField(auto_now_add=True)
